//! The listener: HTTP/1.1 and HTTP/2 clear text on one port, a task for each connection.

use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use hyper_util::server::conn::auto;
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::bill::BillLog;
use super::exchange::{World, serve};
use super::{Settings, SimulatorError};

/// A simulator that listens. Dropping it leaves it running; `stop` ends it.
#[derive(Debug)]
pub struct Running {
    address: SocketAddr,
    stop: CancellationToken,
    tasks: TaskTracker,
}

/// Starts to listen.
///
/// # Errors
/// When the address cannot be listened on or the bill log cannot be opened.
pub async fn start(settings: Settings) -> Result<Running, SimulatorError> {
    let bill = BillLog::open(settings.bill_log.as_deref())?;
    let failed = |cause| SimulatorError::Listen {
        address: settings.listen,
        cause,
    };
    let listener = TcpListener::bind(settings.listen).await.map_err(failed)?;
    let running = Running {
        address: listener.local_addr().map_err(failed)?,
        stop: CancellationToken::new(),
        tasks: TaskTracker::new(),
    };
    let world = Arc::new(World {
        settings,
        bill,
        requests: AtomicU64::new(0),
        jobs: Arc::default(),
    });
    let (stop, tasks) = (running.stop.clone(), running.tasks.clone());
    running.tasks.spawn(accept(listener, world, stop, tasks));
    Ok(running)
}

impl Running {
    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Closes the listener and all connections; returns when every line of the bill is written.
    pub async fn stop(self) {
        self.stop.cancel();
        self.tasks.close();
        self.tasks.wait().await;
    }
}

async fn accept(
    listener: TcpListener,
    world: Arc<World>,
    stop: CancellationToken,
    tasks: TaskTracker,
) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => return,
        };
        match accepted {
            Ok((stream, _peer)) => {
                let connection = connection(stream, Arc::clone(&world), tasks.clone());
                let stop = stop.clone();
                tasks.spawn(async move { stop.run_until_cancelled(connection).await });
            }
            Err(cause) => tracing::warn!(%cause, "a connection was not accepted"),
        }
    }
}

async fn connection(stream: TcpStream, world: Arc<World>, tasks: TaskTracker) {
    if let Err(cause) = stream.set_nodelay(true) {
        tracing::debug!(%cause, "no TCP_NODELAY");
    }
    let service = service_fn(move |request| serve(Arc::clone(&world), request));
    let builder = auto::Builder::new(Tracked(tasks));
    let served = builder
        .serve_connection(TokioIo::new(stream), service)
        .await;
    if let Err(cause) = served {
        tracing::debug!(cause, "a connection ended early");
    }
}

/// Runs the streams of an HTTP/2 connection where `stop` waits for them.
#[derive(Clone)]
struct Tracked(TaskTracker);

impl<F> hyper::rt::Executor<F> for Tracked
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    fn execute(&self, future: F) {
        self.0.spawn(future);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use aws_sdk_bedrockruntime::Client;
    use aws_sdk_bedrockruntime::config::{BehaviorVersion, Config, Credentials, Region};
    use aws_sdk_bedrockruntime::error::ProvideErrorMetadata as _;
    use aws_sdk_bedrockruntime::operation::converse_stream::ConverseStreamOutput;
    use aws_sdk_bedrockruntime::operation::invoke_model::InvokeModelOutput;
    use aws_sdk_bedrockruntime::primitives::Blob;
    use aws_sdk_bedrockruntime::types::error::ConverseStreamOutputError;
    use aws_sdk_bedrockruntime::types::{ContentBlock, ConversationRole, Message};
    use aws_sdk_bedrockruntime::types::{
        ConverseStreamOutput as Event, ServiceTier, ServiceTierType,
    };
    use bytes::Bytes;
    use http_body_util::{BodyExt as _, Full};
    use serde_json::{Value, json};
    use tempfile::TempDir;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    const CLAUDE: &str = "us.anthropic.claude-opus-5-5";

    /// A simulator with its bill, and the real SDK in front of it.
    struct Bench {
        running: Running,
        client: Client,
        directory: TempDir,
    }

    impl Bench {
        async fn start(change: impl FnOnce(&mut Settings)) -> Self {
            let directory = TempDir::new().unwrap();
            let mut settings = Settings {
                bill_log: Some(directory.path().join("bill.ndjson")),
                ..Settings::default()
            };
            change(&mut settings);
            let Settings {
                access_key_id,
                secret_access_key,
                ..
            } = Settings::default();
            let running = start(settings).await.unwrap();
            let credentials =
                Credentials::new(access_key_id, secret_access_key, None, None, "test");
            let config = Config::builder()
                .behavior_version(BehaviorVersion::latest())
                .region(Region::new("eu-central-1"))
                .endpoint_url(format!("http://{}", running.address()))
                .credentials_provider(credentials)
                .retry_config(aws_sdk_bedrockruntime::config::retry::RetryConfig::disabled())
                .build();
            Self {
                running,
                client: Client::from_conf(config),
                directory,
            }
        }

        async fn invoke(
            &self,
            model: &str,
            script: &'static str,
        ) -> Result<InvokeModelOutput, String> {
            let call = self
                .client
                .invoke_model()
                .model_id(model)
                .body(Blob::new("{}"));
            let call = call.customize().mutate_request(move |request| {
                request.headers_mut().insert("x-simulate", script);
            });
            let sent = call.send().await;
            sent.map_err(|error| error.code().unwrap_or("no code").to_owned())
        }

        async fn converse_stream(&self, script: &'static str) -> ConverseStreamOutput {
            let call = self
                .client
                .converse_stream()
                .model_id(CLAUDE)
                .messages(hello());
            let tier = ServiceTier::builder()
                .r#type(ServiceTierType::Priority)
                .build()
                .unwrap();
            let call = call
                .service_tier(tier)
                .customize()
                .mutate_request(move |request| {
                    request.headers_mut().insert("x-simulate", script);
                });
            call.send().await.unwrap()
        }

        async fn bill(self) -> Vec<Value> {
            drop(self.client);
            self.running.stop().await;
            let text = std::fs::read_to_string(self.directory.path().join("bill.ndjson")).unwrap();
            text.lines()
                .map(|line| serde_json::from_str(line).unwrap())
                .collect()
        }
    }

    fn hello() -> Message {
        let message = Message::builder().role(ConversationRole::User);
        message
            .content(ContentBlock::Text("hello".into()))
            .build()
            .unwrap()
    }

    async fn read_to_metadata(
        stream: &mut ConverseStreamOutput,
    ) -> (Vec<Event>, Option<&'static str>) {
        let mut events = Vec::new();
        loop {
            match stream.stream.recv().await {
                Ok(Some(event)) => events.push(event),
                Ok(None) => return (events, None),
                Err(error) => {
                    let class = error.as_service_error();
                    let throttled =
                        class.is_some_and(ConverseStreamOutputError::is_throttling_exception);
                    return (events, Some(if throttled { "throttled" } else { "broken" }));
                }
            }
        }
    }

    #[tokio::test]
    async fn the_sdk_reads_a_stream_and_the_bill_agrees_with_it() {
        for write in ["write=frame", "write=whole", "write=many", "write=split:7"] {
            let bench = Bench::start(|_| {}).await;
            let script: &'static str = format!("{write},frames=40,input=11,output=22,cache-read=33,cache-write-5m=44,cache-write-1h=55,tier=default").leak();
            let mut stream = bench.converse_stream(script).await;
            let (events, error) = read_to_metadata(&mut stream).await;
            assert_eq!((events.len(), error), (44, None), "{write}");
            let Some(Event::Metadata(metadata)) = events.last() else {
                panic!("the last event is not the metadata")
            };
            let usage = metadata.usage().unwrap();
            assert_eq!(
                (
                    usage.input_tokens(),
                    usage.output_tokens(),
                    usage.total_tokens()
                ),
                (11, 22, 165)
            );
            assert_eq!(
                metadata.service_tier().unwrap().r#type(),
                &ServiceTierType::Default
            );
            drop(stream);
            let bill = bench.bill().await;
            let expected = json!({
                "input_tokens": 11, "output_tokens": 22, "cache_read_tokens": 33,
                "cache_write_5m_tokens": 44, "cache_write_1h_tokens": 55,
            });
            assert_eq!(bill.len(), 1);
            assert_eq!(bill[0]["usage"], expected);
            assert_eq!(
                (&bill[0]["region"], &bill[0]["model_id"]),
                (&json!("eu-central-1"), &json!(CLAUDE))
            );
            assert_eq!(
                (&bill[0]["served_tier"], &bill[0]["fully_sent"]),
                (&json!("default"), &json!(true))
            );
        }
    }

    #[tokio::test]
    async fn a_client_that_leaves_in_mid_stream_is_billed_in_full() {
        let bench = Bench::start(|_| {}).await;
        let mut stream = bench
            .converse_stream("frames=1000,frame-delay-ms=20,input=7,output=900")
            .await;
        stream.stream.recv().await.unwrap();
        drop(stream);
        let bill = bench.bill().await;
        assert_eq!(
            bill[0]["usage"],
            json!({"input_tokens": 7, "output_tokens": 900})
        );
        assert_eq!(
            (&bill[0]["head_sent"], &bill[0]["fully_sent"]),
            (&json!(true), &json!(false))
        );
    }

    #[tokio::test]
    async fn a_client_that_leaves_before_the_head_is_billed_in_full() {
        let bench = Bench::start(|settings| settings.verify = false).await;
        let mut stream = TcpStream::connect(bench.running.address()).await.unwrap();
        let head = "POST /model/a.b/invoke HTTP/1.1\r\nhost: x\r\nx-simulate: delay-head-ms=60000,input=3,output=4\r\ncontent-length: 2\r\n\r\n{}";
        let request = head.replace("a.b", "anthropic.claude-opus-5-5");
        stream.write_all(request.as_bytes()).await.unwrap();
        stream.shutdown().await.unwrap();
        assert_eq!(stream.read(&mut [0; 16]).await.unwrap(), 0);
        let bill = bench.bill().await;
        assert_eq!(
            bill[0]["usage"],
            json!({"input_tokens": 3, "output_tokens": 4})
        );
        assert_eq!(
            (&bill[0]["head_sent"], &bill[0]["status"]),
            (&json!(false), &Value::Null)
        );
    }

    #[tokio::test]
    async fn every_family_answers_natively_with_its_own_usage() {
        let bench = Bench::start(|_| {}).await;
        let rows = [
            (
                "anthropic.claude-3-5-sonnet-20241022-v2:0",
                "/usage/output_tokens",
            ),
            (
                "arn:aws:bedrock:eu-central-1:123456789012:inference-profile/eu.amazon.nova-pro-v1:0",
                "/usage/outputTokens",
            ),
            ("amazon.titan-text-express-v1", "/results/0/tokenCount"),
            ("meta.llama3-1-8b-instruct-v1:0", "/generation_token_count"),
            ("qwen.qwen3-32b-v1:0", "/usage/completion_tokens"),
        ];
        for (model, pointer) in rows {
            let answer = bench.invoke(model, "input=5,output=6").await.unwrap();
            let body: Value = serde_json::from_slice(answer.body().as_ref()).unwrap();
            assert_eq!(body.pointer(pointer), Some(&json!(6)), "{model}");
        }
        let bill = bench.bill().await;
        let models: Vec<&str> = bill
            .iter()
            .map(|line| line["model_id"].as_str().unwrap())
            .collect();
        assert_eq!(models, rows.map(|row| row.0));
    }

    #[tokio::test]
    async fn scripted_errors_reach_the_sdk_as_their_class_and_bill_nothing() {
        let bench = Bench::start(|_| {}).await;
        let rows = [
            ("status=429", "ThrottlingException"),
            ("status=500", "InternalServerException"),
            (
                "status=429:ModelNotReadyException",
                "ModelNotReadyException",
            ),
            ("frames", "ValidationException"),
            ("reset-before-head", "no code"),
        ];
        for (script, class) in rows {
            assert_eq!(
                bench.invoke(CLAUDE, script).await.unwrap_err(),
                class,
                "{script}"
            );
        }
        assert_eq!(
            bench.invoke("nobody.model", "").await.unwrap_err(),
            "ValidationException"
        );
        let bill = bench.bill().await;
        assert_eq!(bill.len(), 6);
        assert!(bill.iter().all(|line| line["usage"] == json!({})));
    }

    #[tokio::test]
    async fn streams_break_as_scripted() {
        let bench = Bench::start(|_| {}).await;
        let rows = [
            ("exception-after=3", 3, Some("throttled")),
            ("reset-after=3", 3, Some("broken")),
            ("garbage-after=3", 3, Some("broken")),
            ("bad-crc-at=3", 3, Some("broken")),
        ];
        for (script, count, code) in rows {
            let mut stream = bench.converse_stream(script).await;
            let (events, error) = read_to_metadata(&mut stream).await;
            assert_eq!((events.len(), error), (count, code), "{script}");
        }
        let bill = bench.bill().await;
        let billed: Vec<bool> = bill.iter().map(|line| line["usage"] != json!({})).collect();
        assert_eq!(billed, [false, true, true, true]);
    }

    #[tokio::test]
    async fn signatures_of_others_are_refused() {
        let bench = Bench::start(|settings| settings.secret_access_key = "another".into()).await;
        assert_eq!(
            bench.invoke(CLAUDE, "").await.unwrap_err(),
            "InvalidSignatureException"
        );
        let bench = Bench::start(|settings| settings.access_key_id = "another".into()).await;
        assert_eq!(
            bench.invoke(CLAUDE, "").await.unwrap_err(),
            "UnrecognizedClientException"
        );
        let bench = Bench::start(|settings| settings.regions = vec!["us-east-1".into()]).await;
        assert_eq!(
            bench.invoke(CLAUDE, "").await.unwrap_err(),
            "InvalidSignatureException"
        );
        let bill = bench.bill().await;
        assert_eq!(
            (&bill[0]["status"], &bill[0]["usage"]),
            (&json!(403), &json!({}))
        );
    }

    #[tokio::test]
    async fn a_request_without_signature_is_refused() {
        let bench = Bench::start(|_| {}).await;
        let mut stream = TcpStream::connect(bench.running.address()).await.unwrap();
        let request = "GET /inference-profiles HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        assert!(answer.starts_with("HTTP/1.1 403 "));
        assert!(answer.contains("x-amzn-errortype: MissingAuthenticationTokenException:"));
    }

    #[tokio::test]
    async fn a_short_body_ends_before_its_announced_length() {
        let bench = Bench::start(|settings| settings.verify = false).await;
        let mut stream = TcpStream::connect(bench.running.address()).await.unwrap();
        let request = "POST /model/us.amazon.nova-pro-v1:0/converse HTTP/1.1\r\nhost: x\r\nx-simulate: short-body\r\ncontent-length: 2\r\n\r\n{}";
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let announced = format!("content-length: {}", body.len() + 100);
        assert!(
            head.starts_with("HTTP/1.1 200 ") && head.contains(&announced),
            "{head}"
        );
        assert_eq!(bench.bill().await[0]["fully_sent"], false);
    }

    #[tokio::test]
    async fn http2_without_upgrade_is_served_on_the_same_port() {
        let bench = Bench::start(|settings| settings.verify = false).await;
        let tcp = TcpStream::connect(bench.running.address()).await.unwrap();
        let executor = hyper_util::rt::TokioExecutor::new();
        let (mut sender, connection) =
            hyper::client::conn::http2::handshake(executor, TokioIo::new(tcp))
                .await
                .unwrap();
        let driver = tokio::spawn(connection);
        let arn =
            "arn:aws:bedrock:us-east-1:123456789012:inference-profile/us.anthropic.claude-opus-5-5";
        let request = http::Request::post(format!("http://x/model/{arn}/converse-stream"))
            .header(
                "x-simulate",
                "frames=1000,frame-delay-ms=20,input=8,output=9",
            )
            .body(Full::new(Bytes::from_static(b"{}")))
            .unwrap();
        let mut answer = sender.send_request(request).await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.version()),
            (200, http::Version::HTTP_2)
        );
        assert!(answer.body_mut().frame().await.unwrap().is_ok());
        drop(answer);
        drop(sender);
        driver.await.unwrap().unwrap();
        let bill = bench.bill().await;
        assert_eq!(
            bill[0]["usage"],
            json!({"input_tokens": 8, "output_tokens": 9})
        );
        assert_eq!(
            (&bill[0]["model_id"], &bill[0]["fully_sent"]),
            (&json!(arn), &json!(false))
        );
    }

    #[tokio::test]
    async fn a_share_of_the_answers_fails_when_asked_for() {
        let bench = Bench::start(|settings| settings.faults_percent = 100).await;
        for _ in 0..8 {
            assert!(bench.invoke(CLAUDE, "").await.is_err());
        }
        let bill = bench.bill().await;
        assert!(bill.iter().all(|line| line["fault"].is_string()));
    }

    #[tokio::test]
    async fn the_same_seed_draws_the_same_usage() {
        let mut usages = Vec::new();
        for seed in [5, 5, 6] {
            let bench = Bench::start(|settings| settings.seed = seed).await;
            bench.invoke(CLAUDE, "").await.unwrap();
            usages.push(bench.bill().await[0]["usage"].clone());
        }
        assert_eq!(usages[0], usages[1]);
        assert_ne!(usages[0], usages[2]);
    }
}
