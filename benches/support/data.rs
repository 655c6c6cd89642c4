//! Rows to write and keys to read, the same in every run.

#[path = "random.rs"]
mod random;

pub(crate) use self::random::Random;

/// Keys with their values.
pub(crate) type Rows = Vec<(Vec<u8>, Vec<u8>)>;

/// How many rows of which lengths in bytes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Shape {
    pub(crate) rows: usize,
    pub(crate) key: usize,
    pub(crate) value: usize,
}

impl Shape {
    /// The rows: each key once, in random order, with random values.
    pub(crate) fn rows(self) -> Rows {
        let mut random = Random(0x5EED);
        let mut rows: Rows = (0..self.rows)
            .map(|number| {
                let key = format!("key:{number:0width$x}", width = self.key - 4).into_bytes();
                (key, random.bytes(self.value))
            })
            .collect();
        random.shuffle(&mut rows);
        rows
    }
}
