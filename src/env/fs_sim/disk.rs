//! The tree of a simulated disk: finding names and changing them. No faults here.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Component, Path};
use std::sync::Arc;

use rustix::io::Errno;

use super::content::Content;
use super::directory::{NameChange, Names, NodeId, SimDir};
use super::file::SimFile;
use crate::env::fs::FileKind;

/// The directory `/`.
pub(super) const ROOT: NodeId = 0;

/// What a name stands for.
#[derive(Clone, Debug)]
pub(super) enum Node {
    File(Arc<SimFile>),
    Dir(Arc<SimDir>),
    Symlink,
}

impl Node {
    pub(super) fn kind(&self) -> FileKind {
        match self {
            Self::File(_) => FileKind::File,
            Self::Dir(_) => FileKind::Directory,
            Self::Symlink => FileKind::Symlink,
        }
    }
}

/// All files and directories. Cloning copies one pointer a file.
#[derive(Clone, Debug)]
pub(super) struct Disk {
    pub(super) nodes: BTreeMap<NodeId, Node>,
    next_node: NodeId,
    next_sequence: u64,
}

impl Disk {
    /// A disk that has nothing but `/`.
    pub(super) fn new() -> Self {
        let root = Node::Dir(Arc::new(SimDir::default()));
        Self::from_nodes(BTreeMap::from([(ROOT, root)]))
    }

    pub(super) fn from_nodes(nodes: BTreeMap<NodeId, Node>) -> Self {
        Self {
            next_node: nodes.last_key_value().map_or(ROOT, |(node, _)| *node) + 1,
            nodes,
            next_sequence: 0,
        }
    }

    /// What `path` names.
    pub(super) fn find(&self, path: &Path) -> io::Result<NodeId> {
        let mut components = path.components();
        if components.next() != Some(Component::RootDir) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "not an absolute path"));
        }
        let mut node = ROOT;
        for component in components {
            let Component::Normal(name) = component else {
                return Err(Errno::INVAL.into());
            };
            let name = name.to_str().ok_or(Errno::INVAL)?;
            node = *self.dir(node)?.cache.get(name).ok_or(Errno::NOENT)?;
        }
        Ok(node)
    }

    /// The directory that holds the last name of `path`, and that name.
    pub(super) fn find_parent<'path>(&self, path: &'path Path) -> io::Result<(NodeId, &'path str)> {
        let name = path.file_name().and_then(|name| name.to_str()).ok_or(Errno::INVAL)?;
        let parent = self.find(path.parent().ok_or(Errno::INVAL)?)?;
        self.dir(parent)?;
        Ok((parent, name))
    }

    pub(super) fn dir(&self, node: NodeId) -> io::Result<&SimDir> {
        match self.nodes.get(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, node: NodeId) -> io::Result<&mut SimDir> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Ok(Arc::make_mut(dir)),
            _ => Err(Errno::NOTDIR.into()),
        }
    }

    /// A regular file, or why it is none.
    pub(super) fn file(&self, node: NodeId) -> io::Result<&SimFile> {
        match self.nodes.get(&node) {
            Some(Node::File(file)) => Ok(file),
            Some(Node::Dir(_)) => Err(Errno::ISDIR.into()),
            Some(Node::Symlink) => Err(Errno::LOOP.into()),
            None => Err(Errno::BADF.into()),
        }
    }

    pub(super) fn file_mut(&mut self, node: NodeId) -> io::Result<&mut SimFile> {
        match self.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(Arc::make_mut(file)),
            Some(Node::Dir(_)) => Err(Errno::ISDIR.into()),
            Some(Node::Symlink) => Err(Errno::LOOP.into()),
            None => Err(Errno::BADF.into()),
        }
    }

    /// Makes `path`, which must not be there yet.
    pub(super) fn create(&mut self, path: &Path, made: Node) -> io::Result<NodeId> {
        if path == Path::new("/") {
            return Err(Errno::EXIST.into());
        }
        let (parent, name) = self.find_parent(path)?;
        if self.dir(parent)?.cache.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        let node = self.next_node;
        self.next_node += 1;
        self.nodes.insert(node, made);
        let name = name.into();
        self.change_names(parent, NameChange::Add { name, node })?;
        Ok(node)
    }

    /// Gives a file a second name, which must not be there yet.
    pub(super) fn hard_link(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        if self.dir(node).is_ok() {
            return Err(Errno::OPNOTSUPP.into());
        }
        let (parent, name) = self.find_parent(to)?;
        if self.dir(parent)?.cache.contains_key(name) {
            return Err(Errno::EXIST.into());
        }
        let name = name.into();
        self.change_names(parent, NameChange::Add { name, node })
    }

    pub(super) fn remove_dir(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        if !self.dir(node)?.cache.is_empty() {
            return Err(Errno::NOTEMPTY.into());
        }
        let (parent, name) = self.find_parent(path)?;
        let name = name.into();
        self.change_names(parent, NameChange::Remove { name, node })
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let node = self.find(path)?;
        if self.dir(node).is_ok() {
            return Err(Errno::ISDIR.into());
        }
        let (parent, name) = self.find_parent(path)?;
        let name = name.into();
        self.change_names(parent, NameChange::Remove { name, node })
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let node = self.find(from)?;
        let (from_dir, from_name) = self.find_parent(from)?;
        let (to_dir, to_name) = self.find_parent(to)?;
        // What a power cut may make of such a rename is no promise of any file system.
        if from_dir != to_dir {
            return Err(Errno::XDEV.into());
        }
        if let Some(replaced) = self.dir(to_dir)?.cache.get(to_name).copied() {
            if replaced == node {
                return Ok(());
            }
            self.check_replace(node, replaced)?;
        }
        let names = &self.dir(from_dir)?.cache;
        let kept = |(name, named): &(&Arc<str>, &NodeId)| **named == node && &***name != from_name;
        let others = names.iter().filter(kept).map(|(name, _)| Arc::clone(name)).collect();
        let to = to_name.into();
        self.change_names(to_dir, NameChange::Rename { to, node, others })
    }

    fn check_replace(&self, node: NodeId, replaced: NodeId) -> io::Result<()> {
        match (self.dir(node), self.dir(replaced)) {
            (Err(_), Err(_)) => Ok(()),
            (Ok(_), Err(_)) => Err(Errno::NOTDIR.into()),
            (Err(_), Ok(_)) => Err(Errno::ISDIR.into()),
            (Ok(_), Ok(replaced)) if replaced.cache.is_empty() => Ok(()),
            (Ok(_), Ok(_)) => Err(Errno::NOTEMPTY.into()),
        }
    }

    fn change_names(&mut self, dir: NodeId, change: NameChange) -> io::Result<()> {
        let sequence = self.next_sequence;
        self.next_sequence += 1;
        self.dir_mut(dir)?.change(sequence, change);
        Ok(())
    }

    /// Makes every name and byte as shown also that of the medium, for changes out of band.
    pub(super) fn settle(&mut self, path: &Path) -> io::Result<()> {
        if let Ok((parent, _)) = self.find_parent(path) {
            self.dir_mut(parent)?.sync();
        }
        if let Ok(node) = self.find(path)
            && let Ok(file) = self.file_mut(node)
        {
            file.sync();
        }
        Ok(())
    }

    /// Whether a node has a name as things are shown.
    pub(super) fn is_named(&self, node: NodeId) -> bool {
        self.names().any(|named| named == node)
    }

    /// The nodes that have a name as things are shown, those with two names twice. Only empty
    /// directories can be removed, so what any directory names has one.
    fn names(&self) -> impl Iterator<Item = NodeId> {
        let dirs = self.nodes.values().filter_map(|node| match node {
            Node::Dir(dir) => Some(dir),
            Node::File(_) | Node::Symlink => None,
        });
        dirs.flat_map(|dir| dir.cache.values().copied())
    }

    /// Drops what neither has a name, nor could get one back by a power cut, nor is in `open`.
    pub(super) fn collect(&mut self, open: &[NodeId]) {
        let mut reached = BTreeSet::from([ROOT]);
        let mut todo = vec![ROOT];
        while let Some(node) = todo.pop() {
            let Ok(dir) = self.dir(node) else { continue };
            todo.extend(dir.nodes().filter(|child| reached.insert(*child)));
        }
        self.nodes.retain(|node, _| reached.contains(node) || open.contains(node));
    }

    /// Room taken by files that have a name or are in `open`, in bytes of whole blocks.
    pub(super) fn used_bytes(&self, open: &[NodeId], block_bytes: u64) -> u64 {
        let mut counted: Vec<NodeId> = self.names().chain(open.iter().copied()).collect();
        counted.sort_unstable();
        counted.dedup();
        let files = counted.iter().filter_map(|node| self.nodes.get(node)).map(used_bytes_of);
        files.map(|bytes| bytes.next_multiple_of(block_bytes)).sum()
    }

    /// Calls `visit` for every file, in the order of their paths.
    pub(super) fn visit_files(&self, visit: &mut impl FnMut(&Path, &SimFile)) {
        self.visit_dir(Path::new("/"), ROOT, visit);
    }

    fn visit_dir(&self, path: &Path, dir: NodeId, visit: &mut impl FnMut(&Path, &SimFile)) {
        let Ok(dir) = self.dir(dir) else { return };
        for (name, node) in &*dir.cache {
            let path = path.join(&**name);
            match self.nodes.get(node) {
                Some(Node::File(file)) => visit(&path, file),
                Some(Node::Dir(_)) => self.visit_dir(&path, *node, visit),
                Some(Node::Symlink) | None => {}
            }
        }
    }
}

fn used_bytes_of(node: &Node) -> u64 {
    match node {
        Node::File(file) => file.cache.used_bytes(),
        Node::Dir(_) | Node::Symlink => 0,
    }
}

/// A new, empty file.
pub(super) fn empty_file() -> Node {
    Node::File(Arc::new(SimFile::default()))
}

/// A file that the medium holds as it is.
pub(super) fn clean_file(content: Arc<Content>, previous: Arc<Content>) -> Node {
    Node::File(Arc::new(SimFile::clean(content, previous)))
}

/// A directory that the medium holds as it is.
pub(super) fn clean_dir(names: Arc<Names>) -> Node {
    Node::Dir(Arc::new(SimDir::clean(names)))
}
