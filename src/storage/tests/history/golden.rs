//! The bytes of a change file are those of docs/format.md.

use super::*;

const DOCUMENT: &str = include_str!("../../../../docs/format.md");

/// The bytes of a block of the document, which stands under this line.
fn bytes_under(line: &str) -> Vec<u8> {
    let (_, rest) = DOCUMENT.split_once(line).unwrap();
    let (_, block) = rest.split_once("```text\n").unwrap();
    let (block, _) = block.split_once("```").unwrap();
    let byte = |digits: &str| u8::from_str_radix(digits, 16).unwrap();
    block.split_whitespace().map(byte).collect()
}

fn written() -> (SimFs, Vec<u8>) {
    let fs = SimFs::new(1);
    let machine = Env::simulated_on(fs.clone(), 7);
    let mut context = context(&fs);
    context.env = machine.env;
    let archive = Archive::for_writing(&context, &look(&context).unwrap(), None);
    let archive = archive.unwrap();
    let tables = try_tables(&fs, table_options()).unwrap();
    archive.begin_era(&tables).unwrap();
    let removed = KeyChange { key: Bytes::from_static(b"b"), value: None, before: Some(200) };
    let entries = [
        EntryChanges {
            index: LogIndex(0),
            timestamp: Timestamp(300),
            changes: vec![set("ab", "xyz", None)],
        },
        EntryChanges {
            index: LogIndex(2),
            timestamp: Timestamp(301),
            changes: vec![removed, set("c", "", Some(0))],
        },
    ];
    let stamps = (Timestamp(300), Timestamp(302));
    let range = LogIndex(0)..=LogIndex(3);
    archive.append(range, stamps, &mut entries.into_iter().map(Ok)).unwrap();
    let file = change_files(&fs)[0].clone();
    let bytes = fs.read_file(&file).unwrap();
    (fs, bytes)
}

#[test]
fn a_change_file_is_what_the_document_shows() {
    let (fs, bytes) = written();
    let shown = bytes_under("A change file as a whole");
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>();
    assert_eq!(hex(&bytes).join(" "), hex(&shown).join(" "));
    let name = "00000000000000000000-00000000000000000000-0.era/00000000000000000000-\
                00000000000000000003-00000000000000000300-00000000000000000302-";
    let found = paths(&fs).remove(0);
    assert!(found.starts_with(name), "{found}");
    assert!(found.ends_with(&format!("-{}.chg", bytes.len())), "{found}");
}
