//! What a person reads, word for word: what was attempted, on what, and what to do next.

mod support;

use std::time::Duration;

use kling::emulator::{Emulator, Step};
use kling::{Client, Error, Poll};
use support::{closed_port, fox, millis};

#[test]
fn dump() {
    let show = |name: &str, e: Error| println!("--- {name}\n{e:?}");
    let em = |c: Vec<Step>, s: Vec<Step>, f: Vec<Step>| {
        Emulator::builder().create(c).status(s).file(f).patience(millis(100)).start()
    };
    for step in [
        Step::Refuse(401),
        Step::Refuse(403),
        Step::Refuse(400),
        Step::RefuseAfter(429, "86400".into()),
        Step::Refuse(429),
    ] {
        let e = em(vec![step.clone(); 3], vec![], vec![]);
        show(&format!("create {step:?}"), e.client().create(&fox()).unwrap_err());
    }
    for step in [Step::Close, Step::Reset, Step::Stall, Step::Html(502), Step::Cut(10), Step::Body(b"{}".to_vec())] {
        let e = em(vec![step.clone(); 3], vec![], vec![]);
        show(&format!("create {step:?}"), e.client().create(&fox()).unwrap_err());
    }
    let e = em(vec![], vec![], vec![]);
    show(
        "refused",
        e.client_builder()
            .base_url(format!("http://127.0.0.1:{}", closed_port()))
            .build()
            .unwrap()
            .create(&fox())
            .unwrap_err(),
    );
    show("no name", e.client_builder().base_url("https://kling.invalid").build().unwrap().create(&fox()).unwrap_err());
    for step in [
        Step::Refuse(404),
        Step::Refuse(401),
        Step::Word("completed".into()),
        Step::Failed("moderated".into()),
        Step::Generating,
        Step::Close,
        Step::Redirect("/x".into()),
    ] {
        let e = em(vec![], vec![step.clone(); 500], vec![]);
        let c = e.client_builder().poll(Poll { interval: millis(5), deadline: millis(30) }).build().unwrap();
        show(&format!("wait {step:?}"), c.generate(&fox()).unwrap_err());
    }
    for step in [
        Step::Refuse(404),
        Step::Refuse(500),
        Step::Html(200),
        Step::Close,
        Step::Stall,
        Step::CutUnannounced(9000),
        Step::Cut(0),
        Step::Redirect("http://example.com/".into()),
    ] {
        let e = em(vec![], vec![], vec![step.clone(); 500]);
        let c = e.client();
        let v = c.generate(&fox()).unwrap();
        let d = tempfile::tempdir().unwrap();
        show(&format!("file {step:?}"), c.download(&v, d.path().join("x.mp4")).unwrap_err());
    }
    let c = e.client();
    let v = c.generate(&fox()).unwrap();
    show("disk", c.download(&v, "/missing/x.mp4").unwrap_err());
    show("disk", c.download(&v, "/").unwrap_err());
    let mut v2 = v.clone();
    v2.url = "http://example.com/x".into();
    show("url", c.download(&v2, "/tmp/x.mp4").unwrap_err());
    show("id", "a b".parse::<kling::GenerationId>().unwrap_err());
    show("ratio", "4:3".parse::<kling::AspectRatio>().unwrap_err());
    show(
        "deadline",
        Error::DeadlineExceeded {
            deadline: Duration::from_secs(1000),
            polls: 100,
            last_status: Some("queued".into()),
            source: None,
        },
    );
    show("key", Client::new("a b").unwrap_err());
    let f = em(vec![], vec![Step::Failed("x".into())], vec![]);
    f.client().create(&fox().client_request_id("fox-1")).unwrap();
    show("recover", f.client().recover("fox-1").unwrap_err());
}
