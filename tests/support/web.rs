//! A local HTTP server that answers as a test says, and keeps what it was sent.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};

use serde_json::Value;

/// What was sent.
#[derive(Debug, Clone)]
pub struct Request {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Request {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.body))
    }
}

/// How it answers.
#[derive(Debug, Clone)]
pub enum Answer {
    /// This status with these headers, each ended by CR LF, and this body.
    Status(u16, &'static str, &'static str),
    /// Never, and the connection stays open.
    Never,
    /// 200, and a body without an end.
    Endless,
    /// Headers without an end.
    EndlessHeaders,
}

pub struct Web {
    pub port: u16,
    pub requests: Receiver<Request>,
    answers: Arc<Mutex<Vec<Answer>>>,
}

impl Web {
    /// Answers as told, one after the other; the last again and again.
    pub fn answering(answers: &[Answer]) -> Self {
        Self::served(answers, |stream| Some(Box::new(stream)))
    }

    /// As [`Self::answering`], over what `wrapped` makes of a connection.
    pub fn served(answers: &[Answer], wrapped: fn(TcpStream) -> Option<Box<dyn Stream>>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let port = listener.local_addr().expect("an address").port();
        let (tell, requests) = channel();
        let answers = Arc::new(Mutex::new(answers.to_vec()));
        let of_thread = answers.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let (tell, answers) = (tell.clone(), of_thread.clone());
                std::thread::spawn(move || {
                    if let Some(stream) = wrapped(stream) {
                        serve(stream, &tell, &answers);
                    }
                });
            }
        });
        Self { port, requests, answers }
    }

    pub fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.port)
    }

    /// From now on it answers so.
    pub fn answer(&self, answers: &[Answer]) {
        *self.answers.lock().expect("not poisoned") = answers.to_vec();
    }

    /// The next that it is sent.
    pub fn next(&self) -> Request {
        self.requests.recv_timeout(super::support::PATIENCE).expect("a request")
    }

    /// What it was sent and nobody looked at.
    pub fn rest(&self) -> Vec<Request> {
        self.requests.try_iter().collect()
    }
}

pub trait Stream: Read + Write {}
impl<S: Read + Write> Stream for S {}

fn serve(stream: Box<dyn Stream>, tell: &Sender<Request>, answers: &Mutex<Vec<Answer>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    let mut line = || {
        let mut line = String::new();
        reader.read_line(&mut line).ok().filter(|length| *length > 0).map(|_| line.trim_end().to_owned())
    };
    let first = line()?;
    let mut headers = Vec::new();
    while let Some((name, value)) = line()?.split_once(':') {
        headers.push((name.to_owned(), value.trim().to_owned()));
    }
    let mut request = Request { line: first, headers, body: String::new() };
    let length = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    request.body = String::from_utf8(body).expect("text");
    let answer = {
        let mut answers = answers.lock().expect("not poisoned");
        if answers.len() > 1 { answers.remove(0) } else { answers[0].clone() }
    };
    let stream = reader.get_mut();
    tell.send(request).ok()?;
    match answer {
        Answer::Status(status, headers, body) => {
            let length = body.len();
            write!(
                stream,
                "HTTP/1.1 {status} X\r\n{headers}Content-Length: {length}\r\nConnection: close\r\n\r\n{body}"
            )
            .ok()?;
            stream.flush().ok()
        }
        // Until the client goes.
        Answer::Never => stream.read(&mut [0]).ok().map(drop),
        Answer::Endless => {
            write!(stream, "HTTP/1.1 200 X\r\n\r\n").ok()?;
            loop {
                stream.write_all(&[b'x'; 4096]).ok()?;
            }
        }
        Answer::EndlessHeaders => {
            write!(stream, "HTTP/1.1 200 X\r\n").ok()?;
            loop {
                stream.write_all(b"X-More: 0123456789\r\n").ok()?;
            }
        }
    }
}
