//! `mcp`: a Model Context Protocol server on standard input and output.
//!
//! A thin bridge to the daemon: it keeps nothing, may die at any time, and finds or starts the daemon for each call. Here is
//! what the protocol wants; `tools` tells agents what there is, `bridge` asks the daemon, `reply` keeps answers short,
//! `resources`, `prompts` and `handles` (the tasks extension) are what else a client may use.

mod bridge;
mod handles;
mod prompts;
mod reply;
mod resources;
mod tools;

use std::sync::Arc;

use batch_executor::protocol::Response;
use batch_executor::version::VERSION;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CancelTaskParams, GetPromptRequestParams, GetPromptResponse,
    GetTaskParams, GetTaskResult, Implementation, ListPromptsResult, ListResourceTemplatesResult, ListResourcesResult,
    ListToolsResult, PaginatedRequestParams, ProgressNotificationParam, ReadResourceRequestParams,
    ReadResourceResponse, ServerCapabilities, ServerConfig, UpdateTaskParams,
};
use rmcp::service::RequestContext;
use rmcp::{ErrorData, RoleServer, ServerHandler, ServiceExt};
use serde_json::{Map, Value};
use tokio::sync::mpsc;

use crate::context::Context;
use crate::exit;
use crate::failure::Failure;
use bridge::Call;

const INSTRUCTIONS: &str = "A durable job queue on this machine: hand it many tasks, say how many may run at once, come back later. \
Everything that was acknowledged survives restarts of this server, the daemon and the machine, and ids stay valid until `clear`. \
Usual way: `add_batch`, `start`, then `wait` (again and again) or `status`, then `results` with filter_status=failed. \
Send a `request_key` with `add` and `add_batch` whenever the call may be repeated. \
Tasks run in this server's folder unless they say another (`cwd`).";

/// Serves until standard input ends.
///
/// # Errors
/// When no runtime can be had.
pub fn run(context: Context) -> Result<u8, Failure> {
    let internal = |error: std::io::Error| Failure::new(exit::INTERNAL, format!("cannot serve: {error}"));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(internal)?;
    runtime.block_on(serve(Server { context: Arc::new(context) }));
    // A read of standard input that nobody can end would be waited for.
    runtime.shutdown_background();
    Ok(exit::DONE)
}

async fn serve(server: Server) {
    // A client that goes before it has said anything is none.
    if let Ok(service) = server.serve(rmcp::transport::stdio()).await {
        drop(service.waiting().await);
    }
}

#[derive(Clone)]
struct Server {
    context: Arc<Context>,
}

impl Server {
    /// The daemon's answer.
    async fn ask(&self, action: &str, parameters: Map<String, Value>) -> Result<Response, ErrorData> {
        let (call, _) = Call::of(action, parameters).map_err(|wrong| ErrorData::invalid_params(wrong, None))?;
        let answer = bridge::ask(self.context.clone(), call, None).await;
        answer.map_err(|failure| ErrorData::internal_error(failure.text().0, None))
    }
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        let capabilities =
            ServerCapabilities::builder().enable_tools().enable_resources().enable_prompts().enable_tasks().build();
        let mut info = ServerConfig::new(capabilities);
        info.server_info = Implementation::new("batch-executor", VERSION).with_title("Batch Executor");
        info.instructions = Some(INSTRUCTIONS.to_owned());
        info
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        Ok(ListToolsResult::with_all_items(tools::all().to_vec()))
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let name = request.name.as_ref();
        if !tools::all().iter().any(|tool| tool.name == name) {
            let names: Vec<&str> = tools::all().iter().map(|tool| tool.name.as_ref()).collect();
            return Err(ErrorData::invalid_params(
                format!("unknown tool `{name}`; there are {}", names.join(", ")),
                None,
            ));
        }
        let arguments = request.arguments.unwrap_or_default();
        let takes_handles = context.client_capabilities().is_some_and(|capabilities| capabilities.supports_tasks());
        if name == "wait"
            && takes_handles
            && let Some(handle) = self.handle(&arguments).await
        {
            return Ok(CallToolResponse::Task(handle));
        }
        let (call, most) = match Call::of(name, arguments) {
            Ok(call) => call,
            Err(wrong) => return Ok(reply::refused(&wrong).into()),
        };
        let has_pages = call.has_pages();
        let (news, mut told) = mpsc::unbounded_channel();
        let token = context.meta.get_progress_token();
        let asked = bridge::ask(self.context.clone(), call, token.is_some().then_some(news));
        tokio::pin!(asked);
        let answer = loop {
            tokio::select! {
                answer = &mut asked => break answer,
                // Dropped with this future, the call to the daemon ends.
                () = context.ct.cancelled() => return Ok(reply::refused("the call was cancelled; the tasks go on").into()),
                Some(bridge::Progress { ended, total }) = told.recv() => {
                    if let Some(token) = &token {
                        let mut progress = ProgressNotificationParam::new(token.clone(), ended);
                        progress.total = Some(total);
                        progress.message = Some(format!("{ended} of {total} tasks have ended"));
                        // One that cannot be told goes on waiting.
                        drop(context.peer.notify_progress(progress).await);
                    }
                }
            }
        };
        Ok(match answer {
            Ok(response) => reply::of(response, most, has_pages),
            Err(failure) => reply::refused(&failure.text().0),
        }
        .into())
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        Ok(ListResourcesResult::with_all_items(self.resources().await?))
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        Ok(ListResourceTemplatesResult::with_all_items(resources::templates()))
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        self.resource(&request.uri).await.map(Into::into)
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        Ok(ListPromptsResult::with_all_items(prompts::all()))
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        prompts::get(&request).map(Into::into)
    }

    async fn get_task(
        &self,
        request: GetTaskParams,
        _: RequestContext<RoleServer>,
    ) -> Result<GetTaskResult, ErrorData> {
        self.task(&request.task_id).await
    }

    /// Nothing of ours asks for input.
    async fn update_task(&self, request: UpdateTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.task(&request.task_id).await.map(drop)
    }

    async fn cancel_task(&self, request: CancelTaskParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        self.cancel(&request.task_id).await
    }
}
