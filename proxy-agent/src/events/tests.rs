//! Notices become the right objects, and telling never waits.

use std::sync::Mutex;

use k8s_openapi::jiff::Timestamp;
use proxy_model::{Kind, ObjectError, ObjectErrorKind, ObjectRef};

use super::publish::{Pace, follow};
use super::*;
use crate::tasks::Tasks;

fn duplicate() -> ObjectError {
    ObjectError {
        object: ObjectRef {
            kind: Kind::Service,
            namespace: "shop".to_owned(),
            name: "web".to_owned(),
        },
        uid: "u-1".to_owned(),
        kind: ObjectErrorKind::DuplicateFrontend {
            frontend: "192.0.2.1:80/TCP".to_owned(),
            winner: "shop/old".to_owned(),
        },
    }
}

#[test]
fn semantics_13_17_start_is_an_event_of_the_node_with_its_name_as_uid() {
    let event = Notice::starting().event("n1", Timestamp::UNIX_EPOCH);
    let regarding = event.regarding.unwrap();
    assert_eq!(
        (
            regarding.kind.as_deref(),
            regarding.name.as_deref(),
            regarding.uid.as_deref()
        ),
        (Some("Node"), Some("n1"), Some("n1"))
    );
    assert_eq!(event.metadata.namespace.as_deref(), Some("default"));
    assert_eq!(
        (
            event.type_.as_deref(),
            event.reason.as_deref(),
            event.action.as_deref()
        ),
        (Some("Normal"), Some("Starting"), Some("StartKubeProxy"))
    );
    let later = Notice::starting().event(
        "n1",
        Timestamp::UNIX_EPOCH + std::time::Duration::from_secs(1),
    );
    assert_ne!(
        event.metadata.name, later.metadata.name,
        "each start is told"
    );
}

#[test]
fn bad_object_is_one_event_whichever_node_tells_it() {
    let event = |node| Notice::object(&duplicate()).event(node, Timestamp::now());
    let (a, b) = (event("a"), event("b"));
    assert_eq!(a.metadata.name, b.metadata.name);
    assert_eq!(a.metadata.namespace.as_deref(), Some("shop"));
    assert_eq!(a.reason.as_deref(), Some("FrontendTaken"));
    assert!(a.note.unwrap().contains("shop/old"));
    let regarding = a.regarding.unwrap();
    assert_eq!(
        (regarding.uid.as_deref(), regarding.api_version.as_deref()),
        (Some("u-1"), Some("v1"))
    );
    let mut other = duplicate();
    other.uid = "u-2".to_owned();
    let other = Notice::object(&other).event("a", Timestamp::now());
    assert_ne!(
        a.metadata.name, other.metadata.name,
        "another object of the same name"
    );
}

#[test]
fn long_notes_and_names_are_cut_to_what_the_api_takes() {
    let note = "ä".repeat(2_000);
    let mut error = duplicate();
    error.object.name = "x".repeat(253);
    let mut notice = Notice::object(&error);
    notice.note = note;
    let event = notice.event("n1", Timestamp::now());
    assert_eq!(event.note.unwrap().len(), 1024);
    assert_eq!(event.metadata.name.unwrap().len(), 253);
}

#[test]
fn full_queue_drops_and_counts_instead_of_waiting() {
    let (events, _told) = Events::channel("n1");
    for _ in 0..QUEUE + 7 {
        events.tell(Notice::starting());
    }
    assert_eq!(events.dropped.get(), 7);
    Events::nowhere("n1").tell(Notice::starting());
}

#[tokio::test]
async fn api_server_that_does_not_answer_is_tried_again_and_one_that_refuses_is_not() {
    let (events, told) = Events::channel("n1");
    let refusal = |code: u16| {
        let status = kube::core::Status::failure("no", "Test").with_code(code);
        kube::Error::Api(Box::new(status))
    };
    let answers = Mutex::new(vec![
        Ok(()),
        Err(refusal(403)),
        Ok(()),
        Err(refusal(503)),
        Ok(()),
    ]);
    let seen = Mutex::new(Vec::new());
    let create = |event: k8s_openapi::api::events::v1::Event| {
        seen.lock().unwrap().push(event.reason.unwrap());
        let answer = answers.lock().unwrap().pop().unwrap();
        std::future::ready(answer)
    };
    for reason in ["One", "Two", "Three"] {
        events.tell(Notice::node_warning(reason, "Test", String::new()));
    }
    let none = std::time::Duration::ZERO;
    let pace = Pace {
        pause: none,
        spread: none,
        retry: none,
    };
    let mut tasks = Tasks::default();
    let shutdown = tasks.shutdown();
    let last = Notice::node_warning("Last", "Test", String::new());
    let words = async {
        events.flush(last).await;
        Ok(())
    };
    tasks.spawn("idle", {
        let mut shutdown = tasks.shutdown();
        async move {
            shutdown.requested().await;
            Ok(())
        }
    });
    let (ended, ()) = tokio::join!(tasks.run(words), follow(create, "n1", told, pace, shutdown));
    ended.unwrap();
    assert_eq!(
        *seen.lock().unwrap(),
        ["One", "Two", "Two", "Three", "Last"]
    );
}
