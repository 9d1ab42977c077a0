//! A hub on this machine, which behaves as hubs do on good days and on bad ones. It knows HTTP/1.1 as far as a download needs it,
//! and nothing of the code under test.
#![allow(dead_code)] // each test takes from here what it needs

use std::collections::{HashMap, VecDeque};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// How a request ends badly.
#[derive(Clone, Copy, Debug)]
pub enum Bad {
    /// The connection closes after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes.
    Stall(usize),
    /// A status, and no file.
    Status(u16),
}

/// A file as the hub gives it.
#[derive(Clone, Debug)]
pub struct Served {
    pub body: Vec<u8>,
    pub kind: &'static str,
    pub etag: Option<String>,
    /// Whether `Range` is honoured.
    pub ranges: bool,
    /// What happens to the first requests.
    pub bad: VecDeque<Bad>,
    /// The answer is this redirect, with `X-Linked-ETag` and `X-Linked-Size` where they are given.
    pub redirect: Option<(String, Option<String>, Option<usize>)>,
}

impl Served {
    pub fn new(body: impl Into<Vec<u8>>) -> Self {
        let (kind, etag) = ("application/octet-stream", Some("\"v1\"".to_string()));
        Self { body: body.into(), kind, etag, ranges: true, bad: VecDeque::new(), redirect: None }
    }

    pub fn bad(mut self, bad: &[Bad]) -> Self {
        self.bad = bad.iter().copied().collect();
        self
    }

    pub fn redirect(to: &str, linked: Option<String>, size: Option<usize>) -> Self {
        Self { redirect: Some((to.into(), linked, size)), ..Self::new("") }
    }
}

/// What was asked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub range: Option<String>,
    pub if_range: Option<String>,
}

#[derive(Default)]
struct Inside {
    files: HashMap<String, Served>,
    asked: Vec<Asked>,
}

pub struct Hub {
    /// Without a slash at the end.
    pub address: String,
    inside: Arc<Mutex<Inside>>,
}

impl Hub {
    pub fn new() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let inside = Arc::new(Mutex::new(Inside::default()));
        let shared = inside.clone();
        // it ends with the test's process
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                thread::spawn(move || answer(stream, &shared));
            }
        });
        Self { address, inside }
    }

    /// Gives a file, or another in its place; its address.
    pub fn give(&self, path: &str, served: Served) -> String {
        self.inside.lock().expect("no panic").files.insert(path.into(), served);
        format!("{}{path}", self.address)
    }

    /// Requests of a path, so far.
    pub fn asked(&self, path: &str) -> Vec<Asked> {
        self.inside.lock().expect("no panic").asked.iter().filter(|asked| asked.path == path).cloned().collect()
    }

    /// `Range` of each request of a path.
    pub fn ranges(&self, path: &str) -> Vec<Option<String>> {
        self.asked(path).into_iter().map(|asked| asked.range).collect()
    }
}

fn answer(mut stream: TcpStream, inside: &Mutex<Inside>) {
    let mut reader = BufReader::new(stream.try_clone().expect("a second handle"));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let line = line.trim_end().to_string();
        if line.is_empty() {
            break;
        }
        lines.push(line);
    }
    let header = |name: &str| {
        let of = |line: &String| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim().to_string())
        };
        lines.iter().skip(1).find_map(of)
    };
    let path = lines[0].split(' ').nth(1).unwrap_or_default().to_string();
    let (range, if_range) = (header("range"), header("if-range"));
    let (served, bad) = {
        let mut inside = inside.lock().expect("no panic");
        inside.asked.push(Asked { path: path.clone(), range: range.clone(), if_range: if_range.clone() });
        let Some(served) = inside.files.get_mut(&path) else {
            let _ =
                stream.write_all(b"HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\nConnection: close\r\n\r\nnot found");
            return;
        };
        let bad = served.bad.pop_front();
        (served.clone(), bad)
    };
    let mut head = String::new();
    let mut body = &served.body[..];
    let from = range
        .filter(|_| served.ranges && (if_range.is_none() || if_range == served.etag))
        .and_then(|range| range.strip_prefix("bytes=")?.strip_suffix('-')?.parse::<usize>().ok());
    match (&served.redirect, bad, from) {
        (Some((to, linked, size)), ..) => {
            head += &format!("HTTP/1.1 302 Found\r\nLocation: {to}\r\n");
            head += &linked.as_ref().map_or(String::new(), |etag| format!("X-Linked-ETag: \"{etag}\"\r\n"));
            head += &size.map_or(String::new(), |size| format!("X-Linked-Size: {size}\r\n"));
        }
        (None, Some(Bad::Status(status)), _) => {
            head += &format!("HTTP/1.1 {status} So it is\r\n");
            body = b"";
        }
        (None, _, Some(from)) if from >= body.len() => {
            head += &format!("HTTP/1.1 416 Range Not Satisfiable\r\nContent-Range: bytes */{}\r\n", body.len());
            body = b"";
        }
        (None, _, Some(from)) => {
            let (last, all) = (body.len() - 1, body.len());
            head += &format!("HTTP/1.1 206 Partial Content\r\nContent-Range: bytes {from}-{last}/{all}\r\n");
            body = &body[from..];
        }
        (None, _, None) => head += "HTTP/1.1 200 OK\r\n",
    }
    head += &format!("Content-Type: {}\r\nContent-Length: {}\r\nConnection: close\r\n", served.kind, body.len());
    head += &served.etag.as_ref().map_or(String::new(), |etag| format!("ETag: {etag}\r\n"));
    head += "\r\n";
    if stream.write_all(head.as_bytes()).is_err() {
        return;
    }
    let count = match bad {
        Some(Bad::Cut(count) | Bad::Stall(count)) => count,
        _ => body.len(),
    };
    let _ = stream.write_all(&body[..count.min(body.len())]);
    if matches!(bad, Some(Bad::Stall(_))) {
        // until the other side has enough
        let _ = stream.read(&mut [0]);
    }
}
