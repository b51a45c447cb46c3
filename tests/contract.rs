//! What is sent over the wire, and what must never be.

mod support;

use std::error::Error as _;
use std::fs;
use std::panic::{RefUnwindSafe, UnwindSafe};

use kling::emulator::{Emulator, RecordedRequest, Step};
use kling::{
    AspectRatio, Asset, Batch, BatchUpdates, Charged, Client, ClientBuilder, Download, Endpoint, Error, Failure,
    GenerationId, Poll, Progress, Recovery, Seconds, Status, Ticks, Timeouts, Update, Usage, Video, VideoRequest,
    Watch, WatchUpdates,
};
use serde_json::json;
use support::{fox, millis, names, only_id};

const KEY: &str = "canary-3f9a51c0";

/// Returns a client with a key that can be searched for.
fn client_with_canary(emulator: &Emulator) -> Client {
    let poll = Poll { interval: millis(5), ..Poll::default() };
    Client::builder(KEY).base_url(emulator.base_url()).poll(poll).build().unwrap()
}

fn contains_the_key(request: &RecordedRequest) -> bool {
    format!("{request:?}").contains(KEY)
}

#[test]
fn create_requests_are_as_documented() {
    let emulator = Emulator::start();
    let request = VideoRequest::new("A fox in the snow")
        .aspect_ratio(AspectRatio::Square)
        .duration(Seconds::Ten)
        .negative_prompt("blur, text")
        .cfg_scale(0.9)
        .param("provider", "kling")
        .client_request_id("fox-1");
    let _ = client_with_canary(&emulator).create(&request).unwrap();

    let create = emulator.creates().pop().unwrap();
    assert_eq!((create.method.as_str(), create.target.as_str()), ("POST", "/v2/generate/video/kling/generation"));
    assert_eq!(create.header("authorization"), Some("Bearer canary-3f9a51c0"));
    assert_eq!(create.header("content-type"), Some("application/json"));
    assert_eq!(create.header("x-client-request-id"), Some("fox-1"));
    assert!(create.header("user-agent").unwrap().starts_with("kling-rs/"));
    assert_eq!(
        create.body,
        json!({
            "model": "klingai/v2.5-turbo/pro/text-to-video",
            "prompt": "A fox in the snow",
            "aspect_ratio": "1:1",
            "duration": 10,
            "negative_prompt": "blur, text",
            "cfg_scale": 0.9,
            "provider": "kling",
        })
    );
}

#[test]
fn each_attempt_of_a_create_request_has_a_new_client_request_id() {
    let emulator = Emulator::builder().create([Step::Http(429), Step::Http(429)]).start();
    let _ = emulator.client().create(&fox()).unwrap();
    let ids: std::collections::HashSet<_> =
        emulator.creates().iter().map(|create| create.header("x-client-request-id").unwrap().to_owned()).collect();
    assert_eq!(ids.len(), 3);
}

#[test]
fn create_requests_with_the_callers_id_are_retried_under_the_same_id() {
    let emulator = Emulator::builder().create([Step::Http(429)]).start();
    let client = emulator.client();
    let id = client.create(&fox().client_request_id("fox-1")).unwrap();
    assert!(emulator.creates().iter().all(|create| create.header("x-client-request-id") == Some("fox-1")));
    assert_eq!(emulator.creates().len(), 2);
    assert_eq!(client.recover("fox-1").unwrap(), Recovery::Found(id));
}

#[test]
fn ids_are_percent_encoded_in_the_query() {
    let emulator = Emulator::start();
    let id = client_with_canary(&emulator).generate(&fox()).unwrap().id;
    assert!(id.as_str().contains(':') && id.as_str().contains('/'));
    let encoded = id.as_str().replace(':', "%3A").replace('/', "%2F");
    for poll in emulator.polls() {
        assert_eq!(poll.target, format!("/v2/generate/video/kling/generation?generation_id={encoded}"));
        assert_eq!(poll.header("authorization"), Some("Bearer canary-3f9a51c0"));
    }
}

#[test]
fn both_endpoints_generate_the_same_video() {
    for (endpoint, path) in
        [(Endpoint::Vendor, "/v2/generate/video/kling/generation"), (Endpoint::Universal, "/v2/video/generations")]
    {
        let emulator = Emulator::start();
        let client = emulator.client_builder().endpoint(endpoint).build().unwrap();
        let video = client.generate(&fox()).unwrap();
        assert!(emulator.creates()[0].target == path && emulator.polls()[0].target.starts_with(path));
        assert_eq!(video.usage.unwrap().credits, Some(120_000.0));
        assert_eq!(video.content_type.as_deref(), Some("video/mp4"));
        assert_eq!(video.file_name.as_deref(), Some("output.mp4"));
    }
}

#[test]
fn the_key_is_never_sent_to_the_file_host_or_to_a_redirect() {
    let elsewhere = Emulator::start();
    let file_elsewhere = elsewhere.client().generate(&fox()).unwrap().url;
    let before = elsewhere.connections();
    let emulator = Emulator::builder()
        .status([Step::Redirect(307, elsewhere.base_url() + "/v2/generate/video/kling/generation")])
        .file([Step::Redirect(302, file_elsewhere)])
        .start();
    let client = client_with_canary(&emulator);

    let id = client.create(&fox()).unwrap();
    client.wait(&id).unwrap_err();
    assert_eq!(elsewhere.connections(), before, "redirects of the API are not followed");

    let video = client.wait(&id).unwrap();
    let _ = client.open(&video).unwrap();
    assert_eq!(elsewhere.files().len(), 1, "redirects of a file are followed");
    assert!(emulator.polls().iter().all(contains_the_key));
    assert_eq!(emulator.files().len(), 1);
    assert!(!emulator.files().iter().chain(&elsewhere.files()).any(contains_the_key));

    let emulator = Emulator::builder().create([Step::Redirect(307, elsewhere.base_url())]).start();
    client_with_canary(&emulator).create(&fox()).unwrap_err();
    assert_eq!(elsewhere.connections(), before, "redirects of a create request are not followed");
}

#[test]
fn the_key_and_the_signature_of_a_file_are_never_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("fox.mp4");
    let mut printed = Vec::new();
    let mut print = |text: String| printed.push(text);

    print(format!("{:?}", Client::builder(KEY)));
    print(format!("{:?}", Client::builder(format!("{KEY}\n")).build().unwrap_err()));
    print(format!("{:?}", Client::builder(KEY).base_url(format!("https://user:{KEY}@h")).build().unwrap_err()));

    let emulator = Emulator::builder()
        .create([Step::Http(401), Step::Close])
        .status([Step::Http(403), Step::Completed])
        .file([Step::Http(413), Step::Html(200), Step::Close])
        .start();
    let client = client_with_canary(&emulator);
    print(format!("{client:?}"));
    for _ in 0..2 {
        let error = client.create(&fox()).unwrap_err();
        print(format!("{error} {error:?}"));
    }
    let id = client.create(&fox()).unwrap();
    let watch = client.watch(&id);
    print(format!("{watch:?}"));
    print(format!("{:?}", client.wait(&id).unwrap_err()));
    let video = client.wait(&id).unwrap();
    assert!(video.url.contains("?signature=rehearsal"));
    print(format!("{video:?} {:?}", Status::Completed(video.clone())));
    for _ in 0..2 {
        print(format!("{:?}", client.download(&video, &path).unwrap_err()));
    }
    print(format!("{:?}", client.open(&video).unwrap()));
    client.download(&video, &path).unwrap();
    assert_eq!(names(folder.path()), ["fox.mp4"]);
    print(String::from_utf8_lossy(&fs::read(&path).unwrap()).into_owned());

    for text in printed {
        assert!(!text.contains(KEY) && !text.contains("signature"), "{text}");
    }
}

#[test]
fn a_key_in_a_response_is_masked() {
    let page = Step::body(format!("<pre>Authorization: Bearer {KEY}</pre>"));
    let emulator = Emulator::builder().create([page]).start();
    let error = client_with_canary(&emulator).create(&fox()).unwrap_err();
    let printed = format!("{error:?}");
    assert!(printed.contains("<pre>Authorization: Bearer [redacted]</pre>"), "{printed}");
}

#[test]
fn polls_share_a_connection_and_each_create_request_opens_one() {
    let emulator = Emulator::script(vec![Step::Generating; 1000]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    assert_eq!(emulator.connections(), 1);
    for _ in 0..1000 {
        client.status(&id).unwrap();
    }
    assert_eq!(emulator.connections(), 1);
    let _ = client.create(&fox()).unwrap();
    let _ = client.create(&fox()).unwrap();
    assert_eq!(emulator.connections(), 3);
    // Clones share the connection.
    client.clone().status(&id).unwrap();
    assert_eq!(emulator.connections(), 3);
}

#[test]
fn a_watch_yields_every_status_and_then_ends() {
    let emulator = Emulator::script([Step::Queued, Step::Html(502), Step::other_status("waiting")]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    let mut watch = client.watch(&id);
    let statuses: Vec<String> = watch.by_ref().map(|update| update.unwrap().to_string()).collect();
    assert_eq!(statuses, ["queued", "waiting", "completed"]);
    assert!(watch.next().is_none());
    assert_eq!(emulator.polls().len(), 4);
}

#[test]
fn a_failed_generation_is_an_item_of_a_watch_and_an_error_of_a_wait() {
    let emulator = Emulator::script([Step::failed("moderated")]);
    let client = emulator.client();
    let id = client.create(&fox()).unwrap();
    let updates: Vec<Status> = client.watch(&id).map(Result::unwrap).collect();
    assert!(matches!(&updates[..], [Status::Failed(failure)] if failure.message == "moderated"), "{updates:?}");
    assert!(matches!(client.generate(&fox()), Err(Error::Failed { .. })));
}

#[test]
fn another_client_can_resume_a_generation() {
    let emulator = Emulator::script(vec![Step::Queued; 1000]);
    let poll = Poll { interval: millis(2), max_wait: millis(20) };
    let impatient = emulator.client_builder().poll(poll).build().unwrap();
    let error = impatient.generate(&fox()).unwrap_err();
    assert_eq!(error.generation_id(), Some(&only_id(&emulator)));
    let source = error.source().and_then(|source| source.downcast_ref::<Box<Error>>());
    assert!(matches!(source.map(Box::as_ref), Some(Error::DeadlineExceeded { .. })), "{error:?}");

    let stored = error.generation_id().unwrap().to_string();
    let id: GenerationId = stored.parse().unwrap();
    assert!(matches!(emulator.client().status(&id), Ok(Status::Queued)));
}

#[test]
fn public_types_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Unpin + 'static>() {}
    shared::<Asset>();
    shared::<Batch>();
    shared::<BatchUpdates>();
    shared::<Charged>();
    shared::<Client>();
    shared::<ClientBuilder>();
    shared::<Download>();
    shared::<Emulator>();
    shared::<Error>();
    shared::<Failure>();
    shared::<GenerationId>();
    shared::<Poll>();
    shared::<Progress>();
    shared::<RecordedRequest>();
    shared::<Recovery>();
    shared::<Status>();
    shared::<Step>();
    shared::<Ticks<BatchUpdates>>();
    shared::<Ticks<WatchUpdates>>();
    shared::<Timeouts>();
    shared::<Update>();
    shared::<Usage>();
    shared::<Video>();
    shared::<VideoRequest>();
    shared::<Watch>();
    shared::<WatchUpdates>();
    assert!(size_of::<Error>() <= 128, "every Result moves an error: {} bytes", size_of::<Error>());
}

// Not the types that hold a connection (`Client`, `Watch`, `Batch`, `Download`, `Emulator`) or the cause of an error
// (`Error`, `Update`): they hold trait objects, which promise nothing.
#[test]
fn data_can_be_used_after_a_panic_was_caught() {
    fn unwind_safe<T: UnwindSafe + RefUnwindSafe>() {}
    unwind_safe::<AspectRatio>();
    unwind_safe::<Asset>();
    unwind_safe::<Charged>();
    unwind_safe::<ClientBuilder>();
    unwind_safe::<Endpoint>();
    unwind_safe::<Failure>();
    unwind_safe::<GenerationId>();
    unwind_safe::<Poll>();
    unwind_safe::<Progress>();
    unwind_safe::<RecordedRequest>();
    unwind_safe::<Recovery>();
    unwind_safe::<Seconds>();
    unwind_safe::<Status>();
    unwind_safe::<Step>();
    unwind_safe::<Timeouts>();
    unwind_safe::<Usage>();
    unwind_safe::<Video>();
    unwind_safe::<VideoRequest>();
}
