//! `htkvctl repair`: what it cuts, what it keeps, and whom it warns.

use std::fs;

use crate::cli::{Ctl, last_segment};

/// Puts bytes behind the last frame that are neither whole nor unwritten. Returns them.
fn spoil_tail(ctl: &Ctl) -> Vec<u8> {
    let (segment, end) = last_segment(ctl);
    let end = end.next_multiple_of(8);
    let mut bytes = fs::read(&segment).unwrap();
    let garbage: Vec<u8> = (1..=255).cycle().take(3000).collect();
    bytes.truncate(bytes.len().max(end + garbage.len()));
    bytes.resize(bytes.len().max(end + garbage.len()), 0);
    bytes[end..end + garbage.len()].copy_from_slice(&garbage);
    fs::write(&segment, bytes).unwrap();
    garbage
}

#[test]
fn a_tail_that_cannot_be_judged_is_cut_only_on_demand_and_kept() {
    let ctl = Ctl::new();
    ctl.ok(&["set", "a", "1"]);
    let garbage = spoil_tail(&ctl);
    let before = ctl.bytes();
    for args in [["get", "a"].as_slice(), &["verify"], &["set", "a", "2"]] {
        let ran = ctl.run(args);
        assert_eq!(ran.code, 2, "{args:?}: {ran:?}");
        assert!((ran.out + &ran.err).contains("repair --truncate-tail"), "{args:?}");
    }
    assert!(ctl.bytes() == before);
    let text = ctl.ok(&["repair", "--truncate-tail"]);
    assert!(text.starts_with("cut 3000 bytes, kept in "), "{text}");
    let kept = text.lines().next().unwrap().split("kept in ").nth(1).unwrap();
    assert!(fs::read(kept).unwrap() == garbage);
    assert_eq!(ctl.ok(&["get", "a"]), "1\n");
    assert!(ctl.ok(&["verify"]).contains("leftover: "));
    assert!(ctl.ok(&["repair", "--truncate-tail"]).starts_with("nothing was cut\n"));
}

#[cfg(feature = "raft")]
#[test]
fn who_cuts_the_tail_of_a_voter_of_several_is_warned() {
    use std::collections::BTreeMap;

    use hightower_kv::raft::ClusterConfig;
    use hightower_kv::raft::test_cluster::{Disk, TestCluster};

    use crate::cli::add_files;

    let scratch = tempfile::tempdir().unwrap();
    let disk = Disk::Real(scratch.path().to_owned());
    let mut cluster = TestCluster::start_with(2, disk, 1, ClusterConfig::default()).unwrap();
    let (id, ctl) = (cluster.leader().unwrap(), Ctl::new());
    let directory = cluster.directory(id);
    for id in cluster.ids() {
        cluster.kill(id);
    }
    let mut files = BTreeMap::new();
    add_files(&directory, &mut files);
    for (path, bytes) in files {
        let to = ctl.directory().join(path.strip_prefix(&directory).unwrap());
        fs::create_dir_all(to.parent().unwrap()).unwrap();
        fs::write(to, bytes).unwrap();
    }
    spoil_tail(&ctl);
    let cut = ctl.run(&["repair", "--truncate-tail"]);
    assert!(cut.code == 0 && cut.out.starts_with("cut 3000 bytes, kept in "), "{cut:?}");
    assert!(cut.err.contains("of several") && cut.err.contains("replace it"), "{cut:?}");
}
