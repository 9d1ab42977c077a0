//! Python's pickles as plain data: nothing is ever imported, called or run.
//!
//! Only the opcodes that PyTorch's writers use are read (`torch.save`: Python's `pickletools`, protocols 2 to 5; TorchScript: PyTorch's
//! `torch/csrc/jit/serialization/pickler.cpp`). A class is a name, a call is that name with its arguments; what they mean is for the reader
//! of archives to say (see `pytorch`), which knows a handful and refuses the rest.
//!
//! A pickle may refer to what it has built before, so that a few bytes can stand for a huge tree: here everything is built once, in one list of
//! nodes, and referred to by number.

use super::{WeightsError, malformed};

/// A value; what contains others is a [`Node`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Item<'a> {
    None,
    Bool(bool),
    Int(i64),
    /// A number that nobody asks for: a float, or an integer of more than 64 bits.
    Number,
    Text(&'a str),
    /// Bytes that nobody asks for.
    Bytes,
    Node(usize),
}

/// What contains values.
#[derive(Clone, Debug, PartialEq)]
pub enum Node<'a> {
    Tuple(Vec<Item<'a>>),
    List(Vec<Item<'a>>),
    Dict(Vec<(Item<'a>, Item<'a>)>),
    /// A class or a function: module and name.
    Global(&'a str, &'a str),
    /// What a call of a class or a function would give: the class, its arguments, and the state given to it afterwards.
    Made {
        class: Item<'a>,
        arguments: Item<'a>,
        state: Item<'a>,
    },
    /// What lies outside of the pickle.
    Persistent(Item<'a>),
}

/// A pickle that was read.
pub struct Pickle<'a> {
    nodes: Vec<Node<'a>>,
    pub root: Item<'a>,
}

impl<'a> Pickle<'a> {
    /// How many nodes there are: an [`Item::Node`] is below that.
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    pub fn node(&self, item: Item<'a>) -> Option<&Node<'a>> {
        match item {
            Item::Node(n) => self.nodes.get(n),
            _ => None,
        }
    }

    pub fn tuple(&self, item: Item<'a>) -> Option<&[Item<'a>]> {
        match self.node(item)? {
            Node::Tuple(items) => Some(items),
            _ => None,
        }
    }

    pub fn global(&self, item: Item<'a>) -> Option<(&'a str, &'a str)> {
        match self.node(item)? {
            &Node::Global(module, name) => Some((module, name)),
            _ => None,
        }
    }
}

/// Reads a pickle. What it takes in memory is at most `room` bytes.
///
/// # Errors
/// When it has other opcodes than plain data needs, breaks their rules, or needs more room.
pub fn read(bytes: &[u8], room: usize) -> Result<Pickle<'_>, WeightsError> {
    let machine =
        Machine { bytes, at: 0, room, stack: Vec::new(), marks: Vec::new(), memo: Vec::new(), nodes: Vec::new() };
    machine.run()
}

fn broken(at: usize, expected: &str, got: impl ToString) -> WeightsError {
    malformed("PyTorch archive", format!("pickle at {at}"), expected, got)
}

struct Machine<'a> {
    bytes: &'a [u8],
    at: usize,
    /// Bytes that may still be allocated.
    room: usize,
    stack: Vec<Item<'a>>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: Vec<Item<'a>>,
    nodes: Vec<Node<'a>>,
}

/// What a value costs wherever it is put: vectors double as they grow.
const ITEM_COST: usize = 2 * size_of::<Item>();
const NODE_COST: usize = 2 * size_of::<Node>();

impl<'a> Machine<'a> {
    fn run(mut self) -> Result<Pickle<'a>, WeightsError> {
        loop {
            let at = self.at;
            let opcode = self.take(1)?[0];
            match opcode {
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Pickle { nodes: self.nodes, root });
                }
                // PROTO, FRAME
                0x80 => drop(self.take(1)?),
                0x95 => drop(self.take(8)?),
                b'N' => self.push(Item::None)?,
                0x88 => self.push(Item::Bool(true))?,
                0x89 => self.push(Item::Bool(false))?,
                // BININT, BININT1, BININT2, LONG1, BINFLOAT
                b'J' => {
                    let b = self.take(4)?;
                    self.push(Item::Int(i64::from(i32::from_le_bytes([b[0], b[1], b[2], b[3]]))))?;
                }
                b'K' => {
                    let value = self.take(1)?[0];
                    self.push(Item::Int(i64::from(value)))?;
                }
                b'M' => {
                    let b = self.take(2)?;
                    self.push(Item::Int(i64::from(u16::from_le_bytes([b[0], b[1]]))))?;
                }
                0x8a => {
                    let long = self.sized(1)?;
                    self.push(integer(long))?;
                }
                b'G' => {
                    self.take(8)?;
                    self.push(Item::Number)?;
                }
                // BINUNICODE, SHORT_BINUNICODE, BINUNICODE8, and Python 2's BINSTRING, SHORT_BINSTRING
                b'X' | b'T' => self.text(4)?,
                0x8c | b'U' => self.text(1)?,
                0x8d => self.text(8)?,
                // BINBYTES, SHORT_BINBYTES
                b'B' => {
                    self.sized(4)?;
                    self.push(Item::Bytes)?;
                }
                b'C' => {
                    self.sized(1)?;
                    self.push(Item::Bytes)?;
                }
                b'(' => {
                    self.pay(2 * size_of::<usize>())?;
                    self.marks.push(self.stack.len());
                }
                b')' => self.make(Node::Tuple(Vec::new()))?,
                b't' => {
                    let items = self.since_mark()?;
                    self.make(Node::Tuple(items))?;
                }
                0x85..=0x87 => {
                    let from = self.below(usize::from(opcode - 0x84))?;
                    let items = self.split(from)?;
                    self.make(Node::Tuple(items))?;
                }
                b']' => self.make(Node::List(Vec::new()))?,
                b'l' => {
                    let items = self.since_mark()?;
                    self.make(Node::List(items))?;
                }
                b'}' => self.make(Node::Dict(Vec::new()))?,
                b'd' => {
                    let items = self.since_mark()?;
                    let pairs = self.pairs(at, &items)?;
                    self.make(Node::Dict(pairs))?;
                }
                // APPEND, APPENDS, SETITEM, SETITEMS
                b'a' => {
                    let from = self.below(1)?;
                    let items = self.split(from)?;
                    self.append(at, &items)?;
                }
                b'e' => {
                    let items = self.since_mark()?;
                    self.append(at, &items)?;
                }
                b's' => {
                    let from = self.below(2)?;
                    let items = self.split(from)?;
                    self.set(at, &items)?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.set(at, &items)?;
                }
                b'0' => drop(self.pop()?),
                // GLOBAL, STACK_GLOBAL
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.make(Node::Global(module, name))?;
                }
                0x93 => match (self.pop()?, self.pop()?) {
                    (Item::Text(name), Item::Text(module)) => self.make(Node::Global(module, name))?,
                    _ => return Err(broken(at, "the names of a module and of a class", "other values")),
                },
                // REDUCE, NEWOBJ
                b'R' | 0x81 => {
                    let (arguments, class) = (self.pop()?, self.pop()?);
                    self.call(class, arguments)?;
                }
                b'b' => self.build(at)?,
                // BINPERSID
                b'Q' => {
                    let id = self.pop()?;
                    self.make(Node::Persistent(id))?;
                }
                // BINPUT, LONG_BINPUT, MEMOIZE, BINGET, LONG_BINGET
                b'q' => {
                    let place = usize::from(self.take(1)?[0]);
                    self.remember(at, place)?;
                }
                b'r' => {
                    let place = self.long()?;
                    self.remember(at, place)?;
                }
                0x94 => self.remember(at, self.memo.len())?,
                b'h' => {
                    let place = usize::from(self.take(1)?[0]);
                    self.recall(at, place)?;
                }
                b'j' => {
                    let place = self.long()?;
                    self.recall(at, place)?;
                }
                _ => return Err(broken(at, "an opcode of plain data", format!("{opcode:#04x}"))),
            }
        }
    }

    fn take(&mut self, len: usize) -> Result<&'a [u8], WeightsError> {
        let rest = &self.bytes[self.at..];
        let taken = rest.get(..len).ok_or_else(|| broken(self.at, "more bytes", "its end"))?;
        self.at += len;
        Ok(taken)
    }

    fn long(&mut self) -> Result<usize, WeightsError> {
        let b = self.take(4)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]) as usize)
    }

    /// Bytes whose count comes first, in `width` bytes.
    fn sized(&mut self, width: usize) -> Result<&'a [u8], WeightsError> {
        let len = self.take(width)?.iter().rev().fold(0u64, |len, &b| len << 8 | u64::from(b));
        self.take(usize::try_from(len).unwrap_or(usize::MAX))
    }

    fn text(&mut self, width: usize) -> Result<(), WeightsError> {
        let at = self.at;
        let text = self.sized(width)?;
        let text = std::str::from_utf8(text).map_err(|_| broken(at, "UTF-8 text", "other bytes"))?;
        self.push(Item::Text(text))
    }

    fn line(&mut self) -> Result<&'a str, WeightsError> {
        let (at, rest) = (self.at, &self.bytes[self.at..]);
        let end = rest.iter().take(1 << 10).position(|&b| b == b'\n');
        let end = end.ok_or_else(|| broken(at, "the name of a class", "no end of line"))?;
        self.at += end + 1;
        std::str::from_utf8(&rest[..end]).map_err(|_| broken(at, "UTF-8 text", "other bytes"))
    }

    fn pay(&mut self, cost: usize) -> Result<(), WeightsError> {
        match self.room.checked_sub(cost) {
            Some(left) => {
                self.room = left;
                Ok(())
            }
            None => Err(broken(self.at, "a table of tensors", "more values than a file of this size needs")),
        }
    }

    fn push(&mut self, item: Item<'a>) -> Result<(), WeightsError> {
        // here and once more where it is put
        self.pay(2 * ITEM_COST)?;
        self.stack.push(item);
        Ok(())
    }

    fn pop(&mut self) -> Result<Item<'a>, WeightsError> {
        let from = self.below(1)?;
        self.stack.truncate(from + 1);
        self.stack.pop().ok_or_else(|| broken(self.at, "a value", "none"))
    }

    /// The height of the stack without its `count` uppermost values, which all lie above the last mark.
    fn below(&self, count: usize) -> Result<usize, WeightsError> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let height = self.stack.len().checked_sub(count).filter(|&height| height >= floor);
        height.ok_or_else(|| broken(self.at, &format!("{count} values"), "fewer"))
    }

    fn split(&mut self, from: usize) -> Result<Vec<Item<'a>>, WeightsError> {
        Ok(self.stack.split_off(from))
    }

    fn since_mark(&mut self) -> Result<Vec<Item<'a>>, WeightsError> {
        let mark = self.marks.pop().ok_or_else(|| broken(self.at, "a mark", "none"))?;
        self.split(mark)
    }

    fn make(&mut self, node: Node<'a>) -> Result<(), WeightsError> {
        self.pay(NODE_COST)?;
        self.nodes.push(node);
        self.push(Item::Node(self.nodes.len() - 1))
    }

    fn pairs(&mut self, at: usize, items: &[Item<'a>]) -> Result<Vec<(Item<'a>, Item<'a>)>, WeightsError> {
        if !items.len().is_multiple_of(2) {
            return Err(broken(at, "keys with values", format!("{} values", items.len())));
        }
        Ok(items.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// The node on top of the stack.
    fn top(&mut self, at: usize) -> Result<&mut Node<'a>, WeightsError> {
        let from = self.below(1)?;
        match self.stack[from] {
            Item::Node(n) => Ok(&mut self.nodes[n]),
            _ => Err(broken(at, "a container", "a plain value")),
        }
    }

    fn append(&mut self, at: usize, items: &[Item<'a>]) -> Result<(), WeightsError> {
        match self.top(at)? {
            Node::List(list) => list.extend_from_slice(items),
            // a class that behaves like a list; what is in it does not matter here
            Node::Made { .. } => {}
            _ => return Err(broken(at, "a list to append to", "something else")),
        }
        Ok(())
    }

    fn set(&mut self, at: usize, items: &[Item<'a>]) -> Result<(), WeightsError> {
        let pairs = self.pairs(at, items)?;
        match self.top(at)? {
            Node::Dict(dict) => dict.extend(pairs),
            Node::Made { .. } => {}
            _ => return Err(broken(at, "a dictionary to put into", "something else")),
        }
        Ok(())
    }

    fn call(&mut self, class: Item<'a>, arguments: Item<'a>) -> Result<(), WeightsError> {
        let node = match class {
            Item::Node(n) => Some(&self.nodes[n]),
            _ => None,
        };
        let empty = matches!(arguments, Item::Node(n) if self.nodes[n] == Node::Tuple(Vec::new()));
        match node {
            Some(Node::Global("collections", "OrderedDict")) if empty => self.make(Node::Dict(Vec::new())),
            Some(Node::Global(..)) => self.make(Node::Made { class, arguments, state: Item::None }),
            _ => Err(broken(self.at, "a class to be made", "something else")),
        }
    }

    /// Gives the object below the top the state on top. A dictionary's is of no interest: PyTorch's hold versions of modules.
    fn build(&mut self, at: usize) -> Result<(), WeightsError> {
        let given = self.pop()?;
        match self.top(at)? {
            Node::Made { state, .. } => *state = given,
            Node::Dict(_) => {}
            _ => return Err(broken(at, "an object that has a state", "something else")),
        }
        Ok(())
    }

    fn remember(&mut self, at: usize, place: usize) -> Result<(), WeightsError> {
        let from = self.below(1)?;
        let item = self.stack[from];
        if place == self.memo.len() {
            self.pay(ITEM_COST)?;
            self.memo.push(item);
        } else if let Some(old) = self.memo.get_mut(place) {
            *old = item;
        } else {
            return Err(broken(at, "places of memory in order", place));
        }
        Ok(())
    }

    fn recall(&mut self, at: usize, place: usize) -> Result<(), WeightsError> {
        let item = *self.memo.get(place).ok_or_else(|| broken(at, "a place of memory in use", place))?;
        self.push(item)
    }
}

/// A little-endian integer of any length.
fn integer(bytes: &[u8]) -> Item<'static> {
    let negative = bytes.last().is_some_and(|&b| b >= 0x80);
    let mut wide = [if negative { 0xff } else { 0 }; 8];
    match wide.get_mut(..bytes.len()) {
        Some(low) => low.copy_from_slice(bytes),
        None => return Item::Number,
    }
    Item::Int(i64::from_le_bytes(wide))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ROOM: usize = 1 << 16;

    #[test]
    fn plain_data_by_hand() {
        // {"a": (1, -2, None), "b": ["x", True]}, as Python 3.11 writes it in protocol 2, memory included
        let bytes = b"\x80\x02}q\x00(X\x01\x00\x00\x00aq\x01K\x01J\xfe\xff\xff\xffN\x87q\x02X\x01\x00\x00\x00bq\x03]q\x04(X\x01\x00\x00\x00xq\x05\x88eu.";
        let pickle = read(bytes, ROOM).expect("plain data");
        let Some(Node::Dict(pairs)) = pickle.node(pickle.root) else { panic!("a dictionary") };
        assert_eq!(pairs[0].0, Item::Text("a"));
        assert_eq!(pickle.tuple(pairs[0].1), Some(&[Item::Int(1), Item::Int(-2), Item::None][..]));
        assert_eq!(pickle.node(pairs[1].1), Some(&Node::List(vec![Item::Text("x"), Item::Bool(true)])));
        for len in 0..bytes.len() {
            assert!(read(&bytes[..len], ROOM).is_err(), "cut at {len}");
        }
    }

    #[test]
    fn what_is_not_plain_data_is_named() {
        let says = |bytes: &[u8], what: &str| {
            let message = read(bytes, ROOM).err().expect("refused").to_string();
            assert!(message.contains(what) && !message.contains('\n'), "{message}");
        };
        // INST, EXT1, PERSID
        says(b"(ios\nsystem\n.", "0x69");
        says(b"\x82\x01.", "0x82");
        says(b"P1\n.", "0x50");
        says(b"K\x01K\x02R.", "a class");
        says(b"(K\x01K\x02u.", "1 values");
        says(b"h\x00.", "memory");
        says(b"K\x01r\xff\xff\xff\xff.", "in order");
        says(b"X\xff\xff\xff\xffa.", "its end");
        says(b"\x8d\xff\xff\xff\xff\xff\xff\xff\xffa.", "its end");
        says(b")K\x01a.", "a list");
        says(b"K\x01(0t.", "1 values");
        says(&b"N".repeat(ROOM), "more values");
        says(&b"(".repeat(ROOM), "more values");
    }

    #[test]
    fn integers_of_any_length() {
        assert_eq!(integer(&[]), Item::Int(0));
        assert_eq!(integer(&[0xff]), Item::Int(-1));
        assert_eq!(integer(&[0, 1]), Item::Int(256));
        assert_eq!(integer(&[0; 9]), Item::Number);
    }

    /// A list that holds itself, and one that doubles at each step: built once, never unfolded.
    #[test]
    fn references_are_not_unfolded() {
        assert!(read(b"]q\x00h\x00a.", ROOM).is_ok());
        let mut doubling = b"]q\x00".to_vec();
        for i in 0..100u8 {
            doubling.extend([b'h', i, b'h', i, 0x86, b'q', i + 1]);
        }
        doubling.push(b'.');
        assert!(read(&doubling, ROOM).expect("plain data").node_count() <= 101);
    }
}
