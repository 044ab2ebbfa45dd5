//! The demo's service: knows nothing of tokens, shows what it was sent.

use std::convert::Infallible;
use std::io;
use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::{Map, Value, json};

/// Starts it on a free port, on a thread of its own that ends with the process.
pub(super) fn spawn() -> io::Result<SocketAddr> {
    let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new()
        .name("demo-upstream".into())
        .spawn(move || drop(runtime.block_on(serve(listener))))?;
    Ok(address)
}

async fn serve(listener: std::net::TcpListener) -> io::Result<()> {
    let listener = tokio::net::TcpListener::from_std(listener)?;
    loop {
        let (stream, _) = listener.accept().await?;
        drop(tokio::spawn(async move {
            let service = service_fn(async |request| Ok::<_, Infallible>(echo(&request)));
            let connection = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service);
            drop(connection.await);
        }));
    }
}

/// The request as it arrived. The token is shortened: this is shown on screens.
fn echo(request: &Request<Incoming>) -> Response<Full<Bytes>> {
    let mut headers = Map::new();
    for (name, value) in request.headers() {
        let value = String::from_utf8_lossy(value.as_bytes());
        let value = match name.as_str() {
            "authorization" => Value::from("Bearer ... (shortened by the demo)"),
            _ => Value::from(value),
        };
        headers.insert(name.as_str().to_owned(), value);
    }
    let document = json!({
        "service": "postern demo upstream",
        "method": request.method().as_str(),
        "path": request.uri().path(),
        "headers": headers,
    });
    let mut response = Response::new(Full::new(Bytes::from(format!("{document:#}\n"))));
    let kind = http::HeaderValue::from_static("application/json");
    response.headers_mut().insert(http::header::CONTENT_TYPE, kind);
    response
}
