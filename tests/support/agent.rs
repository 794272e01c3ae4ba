//! A client of `mcp` that writes its lines itself: of the older protocol, which begins with a greeting, or of the current one, where
//! each request says for itself what its client is.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, ChildStdin, ChildStdout, Stdio};

use serde_json::{Value, json};

use crate::support::Daemon;

/// A client of the server.
pub struct Agent {
    pub child: Child,
    pub stdin: Option<ChildStdin>,
    lines: BufReader<ChildStdout>,
    asked: i64,
    /// What each request says of its client; none in the older protocol.
    meta: Option<Value>,
}

impl Agent {
    /// Of the older protocol.
    pub fn connect(daemon: &Daemon) -> Self {
        let mut agent = Self::spawn(daemon, None);
        let client = json!({"name": "test", "version": "1"});
        let hello = agent
            .call("initialize", json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": client}));
        assert_eq!(hello["serverInfo"]["name"], "batch-executor");
        agent.tell(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        agent
    }

    /// Of the protocol of 2026-07-28, able to do what `capabilities` says.
    pub fn connect_now(daemon: &Daemon, capabilities: &Value) -> Self {
        let meta = json!({
            "io.modelcontextprotocol/protocolVersion": "2026-07-28",
            "io.modelcontextprotocol/clientInfo": {"name": "test", "version": "1"},
            "io.modelcontextprotocol/clientCapabilities": capabilities,
        });
        Self::spawn(daemon, Some(meta))
    }

    fn spawn(daemon: &Daemon, meta: Option<Value>) -> Self {
        let mut child =
            daemon.command(&["mcp"]).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("the program starts");
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take().expect("piped"));
        Self { child, stdin, lines: BufReader::new(stdout), asked: 0, meta }
    }

    pub fn tell(&mut self, message: &Value) {
        writeln!(self.stdin.as_mut().expect("open"), "{message}").expect("it reads");
    }

    pub fn send(&mut self, method: &str, mut params: Value) -> i64 {
        self.asked += 1;
        if let Some(meta) = &self.meta {
            params["_meta"] = meta.clone();
        }
        self.tell(&json!({"jsonrpc": "2.0", "id": self.asked, "method": method, "params": params}));
        self.asked
    }

    /// The next message; each line of its output is one.
    pub fn hear(&mut self) -> Value {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("its output");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    pub fn answer(&mut self, id: i64) -> Value {
        loop {
            let message = self.hear();
            if message["id"] == id {
                return message;
            }
        }
    }

    pub fn call(&mut self, method: &str, params: Value) -> Value {
        let id = self.send(method, params);
        let answer = self.answer(id);
        assert!(answer["error"].is_null(), "{answer}");
        answer["result"].clone()
    }

    /// The sentence with which a request is refused.
    pub fn refused(&mut self, method: &str, params: Value) -> String {
        let id = self.send(method, params);
        let answer = self.answer(id);
        answer["error"]["message"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
    }

    pub fn tool(&mut self, name: &str, arguments: Value) -> Value {
        self.call("tools/call", json!({"name": name, "arguments": arguments}))
    }

    /// The data of a tool that does what it is asked.
    pub fn ok(&mut self, name: &str, arguments: Value) -> Value {
        let result = self.tool(name, arguments);
        assert_ne!(result["isError"], true, "{result}");
        result["structuredContent"].clone()
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

pub fn text(result: &Value) -> &str {
    result["content"][0]["text"].as_str().expect("a text")
}
