//! What is refused: nothing is written, and the error says why.

use std::time::Duration;

use hightower_kv::{Command, Error, KvEngine, ReadContext, Version};

use crate::engines::{Harness, contract};
use crate::scopes::{PATIENCE, until};

contract!(
    keys_without_bytes_are_refused,
    what_is_too_large_is_refused,
    batches_that_cannot_be_are_refused,
    a_version_that_is_not_there_yet_is_refused,
    what_comes_after_a_refusal_is_not_harmed,
    a_callback_does_not_wait_for_itself,
);

fn refused<H: Harness>(harness: &H, command: Command) -> Error {
    let engine = harness.engine();
    let before = engine.view(ReadContext::Linearizable).unwrap().version();
    let error = engine.submit(command).unwrap_err();
    let view = engine.view(ReadContext::Linearizable).unwrap();
    assert!(view.is_empty(), "{error}");
    assert_eq!(view.version(), before, "nothing was proposed");
    error
}

fn keys_without_bytes_are_refused<H: Harness>(harness: &H) {
    for command in [Command::set("", "x"), Command::delete("")] {
        assert!(matches!(refused(harness, command), Error::Validation(_)));
    }
}

fn what_is_too_large_is_refused<H: Harness>(harness: &H) {
    let key = vec![b'k'; 70_000];
    let error = refused(harness, Command::set(key, "x"));
    let Error::TooLarge { limit, got, .. } = error else { panic!("{error}") };
    assert!(limit < got && got == 70_000);
}

fn batches_that_cannot_be_are_refused<H: Harness>(harness: &H) {
    assert!(matches!(refused(harness, Command::batch([])), Error::Validation(_)));
    let nested = Command::batch([Command::batch([Command::set("a", "1")])]);
    assert!(matches!(refused(harness, nested), Error::Validation(_)));
}

fn a_version_that_is_not_there_yet_is_refused<H: Harness>(_: &H) {
    // It is waited for as long as a call may take.
    let harness = H::with_deadline(Duration::from_millis(500));
    let engine = harness.engine();
    // A busy machine may take longer.
    until("a key is put", || engine.put(b"key".to_vec(), b"value".to_vec()).is_ok());
    let asked = Version(1_000_000);
    let error = engine.view(ReadContext::AtLeast(asked)).unwrap_err();
    assert!(matches!(error, Error::NotYet { asked: told, .. } if told == asked), "{error}");
}

fn what_comes_after_a_refusal_is_not_harmed<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let bad = engine.submit_async(Command::set("", "x"));
    let good = engine.submit_async(Command::set("key", "x"));
    assert!(bad.wait().is_err());
    assert!(good.wait().unwrap().changed());
}

fn a_callback_does_not_wait_for_itself<H: Harness>(harness: &H) {
    let engine = harness.engine();
    let (send, receive) = std::sync::mpsc::channel();
    let inner = engine.clone();
    engine.submit_with(
        Command::set("key", "value"),
        Box::new(move |answer| {
            let waited = inner.put(b"other".to_vec(), b"x".to_vec());
            let handed = inner.submit_async(Command::set("handed", "in"));
            send.send((answer, waited, handed)).unwrap();
        }),
    );
    let (answer, waited, handed) = receive.recv_timeout(PATIENCE).unwrap();
    assert!(answer.unwrap().changed());
    assert!(matches!(waited, Err(Error::Validation(_))), "{waited:?}");
    assert!(handed.wait().unwrap().changed());
}
