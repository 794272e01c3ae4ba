//! `hooks`: who is told, and how that went.

use super::Reply;
use crate::hooks::Hook;
use crate::protocol::{HookDelivery, HookInfo, HooksData, HooksRequest, Refusal};
use crate::queue::ops::hooks::state;
use crate::queue::read::Latest;
use crate::server::Shared;
use crate::time::rfc3339;

pub(super) async fn hooks(service: &Shared, request: &HooksRequest) -> Result<Reply, Refusal> {
    let declared = service.hooks.declared();
    let Some(name) = &request.test else {
        let mut hooks = Vec::with_capacity(declared.len());
        for hook in declared {
            hooks.push(info(service, hook).await?);
        }
        let message = match hooks.len() {
            0 => "no hook is configured: nobody is told of anything. See `[hooks.NAME]` in the guide.".to_owned(),
            1 => "1 hook. Try it with `test`.".to_owned(),
            several => format!("{several} hooks. Try one with `test`."),
        };
        return Reply::new(message, &HooksData { hooks });
    };
    let hook = declared.iter().find(|hook| hook.name == *name).ok_or_else(|| {
        let known: Vec<&str> = declared.iter().map(|hook| hook.name.as_str()).collect();
        let known =
            if known.is_empty() { "none is configured".to_owned() } else { format!("they are {}", known.join(", ")) };
        Refusal::not_found(format!("no hook `{name}`; {known} (the configuration is read when the daemon starts)"))
    })?;
    let tested = tokio::select! {
        tested = service.hooks.test(hook) => tested?,
        () = service.ends() => return Err(crate::executor::ExecutorError::ShuttingDown.into()),
    };
    let how = if tested.is_delivered { "was told" } else { "could not be told" };
    let message = format!("the hook `{name}` {how}: {}", tested.said);
    Reply::new(message, &HooksData { hooks: vec![info(service, hook).await?] })
}

async fn info(service: &Shared, hook: &Hook) -> Result<HookInfo, Refusal> {
    let standing = service.hooks.standing(hook).await?;
    Ok(HookInfo {
        hook: hook.name.clone(),
        on: hook.on.iter().map(|on| on.as_str().to_owned()).collect(),
        to: hook.to.to_string(),
        pending: standing.pending,
        dropped: standing.dropped,
        last: standing.latest.map(|latest| delivery(service, latest)),
    })
}

fn delivery(service: &Shared, latest: Latest) -> HookDelivery {
    let is_pending = latest.state == state::PENDING;
    HookDelivery {
        delivery: latest.id,
        event: latest.event,
        count: latest.count,
        test: latest.test,
        state: state::word(latest.state).to_owned(),
        attempts: latest.attempts,
        said: latest.said,
        created_at: rfc3339(latest.created_at),
        ended_at: latest.ended_at.map(rfc3339),
        next_attempt_at: is_pending.then(|| rfc3339(service.queue.clock().wall_of(latest.due))),
    }
}
