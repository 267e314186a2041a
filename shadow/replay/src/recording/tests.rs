use super::*;
use crate::{RecordedAnswer, RecordedBody, open};

fn exchange(id: usize) -> Recorded {
    let body = RecordedBody::Whole(format!("{{\"id\":{id}}}").into());
    Recorded {
        id: id.to_string(),
        session: Some(format!("s{}", id % 3)),
        method: "GET".into(),
        target: format!("/messages/{id}"),
        headers: vec![("accept".into(), b"*/*".to_vec())],
        legacy: Some(RecordedAnswer { status: 200, body, ..RecordedAnswer::default() }),
        ..Recorded::default()
    }
}

fn read(path: &Path) -> (Vec<Recorded>, Ending) {
    let mut seen = Vec::new();
    let mut opened = open(path, None).unwrap();
    let ending = opened.read(&Limits::default(), &mut |entry| {
        if let Entry::Exchange(recorded) = entry {
            seen.push(Recorded { place: 0, ..*recorded });
        }
        ControlFlow::Continue(())
    });
    (seen, ending.unwrap())
}

fn write(path: &Path, ids: std::ops::Range<usize>) {
    let mut writer = Writer::create(path, &Head::raw(1)).unwrap();
    for id in ids {
        writer.write(&exchange(id)).unwrap();
        writer.flush().unwrap();
    }
}

#[test]
fn a_cut_off_file_is_read_to_its_last_whole_frame_and_can_be_appended_to() {
    for name in ["a.banyan.ndjson.zst", "a.ndjson"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(name);
        write(&path, 0..10);
        let length = std::fs::metadata(&path).unwrap().len();
        std::fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(length - 7).unwrap();
        let (seen, ending) = read(&path);
        assert_eq!(seen, (0..9).map(exchange).collect::<Vec<_>>(), "{name}");
        assert!(ending.warning.is_some(), "{name}");

        let mut writer = Writer::append(&path, &Head::raw(2)).unwrap();
        writer.write(&exchange(9)).unwrap();
        drop(writer);
        let (seen, ending) = read(&path);
        assert_eq!(seen, (0..10).map(exchange).collect::<Vec<_>>(), "{name}");
        assert_eq!(ending.warning, None, "{name}");
    }
}

#[test]
fn a_newer_version_is_refused_by_name_and_another_file_is_not_appended_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.ndjson");
    std::fs::write(&path, "{\"banyan\":\"recording\",\"version\":2}\n").unwrap();
    let error =
        open(&path, None).unwrap().read(&Limits::default(), &mut |_| ControlFlow::Continue(()));
    assert_eq!(
        error.unwrap_err().to_string(),
        "read a recording of version 2: this Banyan knows version 1"
    );
    assert!(matches!(Writer::append(&path, &Head::raw(1)), Err(WriterError::Foreign)));
    std::fs::write(&path, "something else\n").unwrap();
    assert!(matches!(Writer::append(&path, &Head::raw(1)), Err(WriterError::Foreign)));
    let head = Head::redacted(1, "k");
    let other = folder.path().join("b.ndjson");
    drop(Writer::create(&other, &head).unwrap());
    assert!(matches!(Writer::append(&other, &Head::raw(1)), Err(WriterError::Foreign)));
    assert!(Writer::create(&other, &head).is_err(), "an existing file is never overwritten");
}

#[test]
fn bad_lines_are_counted_with_their_number() {
    let text = "{\"banyan\":\"recording\",\"version\":1}\nnot json\n{\"method\":\"GET\",\"target\":\"/a\"}\n{\"method\":\"GET\",\"target\":\"*\"}\n";
    let mut seen = Vec::new();
    let mut heads = 0;
    read_lines(&mut text.as_bytes(), &Limits::default(), &mut |_| heads += 1, &mut |entry| {
        seen.push(entry);
        ControlFlow::Continue(())
    })
    .unwrap();
    let recorded =
        Recorded { place: 3, method: "GET".into(), target: "/a".into(), ..Recorded::default() };
    let expected = [
        Entry::Skipped { place: 2, why: Unread::Malformed },
        Entry::Exchange(Box::new(recorded)),
        Entry::Skipped { place: 4, why: Unread::NoPath },
    ];
    assert_eq!((seen.as_slice(), heads), (&expected[..], 1));
}

#[test]
fn only_the_owner_of_the_process_can_read_a_recording() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a.banyan.ndjson.zst");
    write(&path, 0..1);
    assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}
