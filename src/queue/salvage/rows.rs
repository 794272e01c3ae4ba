//! Rows from pages: what a page is, its cells, their records. Nothing here trusts what it reads.

use super::pages::{Pages, u32_at};

/// The kinds of pages with rows or ways to rows.
const INDEX_INTERIOR: u8 = 2;
const TABLE_INTERIOR: u8 = 5;
const INDEX_LEAF: u8 = 10;
const TABLE_LEAF: u8 = 13;

/// A stored value.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Null,
    Integer(i64),
    Real(f64),
    Text(String),
    Blob(Vec<u8>),
}

/// A row as it is stored: a table's has its id beside the record.
#[derive(Debug, PartialEq)]
pub(super) struct Row {
    pub id: Option<i64>,
    pub values: Vec<Value>,
}

/// What a page holds; `None` in `rows` is one that cannot be read.
#[derive(Debug, Default)]
pub(super) struct Content {
    pub children: Vec<u32>,
    pub rows: Vec<Option<Row>>,
}

/// Reads a page as one of a table (`without_rowid`: of one whose rows are in an index); none if it is not that.
pub(super) fn content(pages: &Pages, number: u32, without_rowid: bool) -> Option<Content> {
    let page = pages.read(number)?;
    let start = if number == 1 { 100 } else { 0 };
    let kind = *page.get(start)?;
    let (is_interior, fits) = match kind {
        INDEX_INTERIOR => (true, without_rowid),
        INDEX_LEAF => (false, without_rowid),
        TABLE_INTERIOR => (true, !without_rowid),
        TABLE_LEAF => (false, !without_rowid),
        _ => return None,
    };
    if !fits {
        return None;
    }
    let cells = u16_at(&page, start + 3)?;
    let pointers = start + if is_interior { 12 } else { 8 };
    // More pointers than a page has room for: it is something else.
    if pointers + 2 * cells > pages.usable {
        return None;
    }
    let mut content = Content::default();
    for cell in 0..cells {
        let at = u16_at(&page, pointers + 2 * cell)?;
        if is_interior {
            content.children.extend(u32_at(&page, at));
        }
        match kind {
            TABLE_INTERIOR => {}
            INDEX_INTERIOR => content.rows.push(row(pages, &page, at + 4, false)),
            _ => content.rows.push(row(pages, &page, at, kind == TABLE_LEAF)),
        }
    }
    if is_interior {
        content.children.extend(u32_at(&page, start + 8));
    }
    Some(content)
}

fn u16_at(bytes: &[u8], at: usize) -> Option<usize> {
    Some(usize::from(u16::from_be_bytes(bytes.get(at..at + 2)?.try_into().ok()?)))
}

/// A number of one to nine bytes, and where it ends.
fn varint(bytes: &[u8], at: usize) -> Option<(i64, usize)> {
    let mut number: u64 = 0;
    for step in 0..9 {
        let byte = *bytes.get(at + step)?;
        if step == 8 {
            number = number << 8 | u64::from(byte);
        } else {
            number = number << 7 | u64::from(byte & 0x7f);
        }
        if step == 8 || byte & 0x80 == 0 {
            return Some((number.cast_signed(), at + step + 1));
        }
    }
    None
}

/// The row of the cell at `at`.
fn row(pages: &Pages, page: &[u8], at: usize, has_id: bool) -> Option<Row> {
    let (length, mut at) = varint(page, at)?;
    let length = usize::try_from(length).ok()?;
    let mut id = None;
    if has_id {
        let (read, after) = varint(page, at)?;
        (id, at) = (Some(read), after);
    }
    let record = payload(pages, page, at, length, has_id)?;
    Some(Row { id, values: values(&record)? })
}

/// The bytes of a record, with those that overflow into pages of their own.
fn payload(pages: &Pages, page: &[u8], at: usize, length: usize, is_table: bool) -> Option<Vec<u8>> {
    let usable = pages.usable;
    let most = if is_table { usable - 35 } else { (usable - 12) * 64 / 255 - 23 };
    if length <= most {
        return Some(page.get(at..at + length)?.to_vec());
    }
    // No record is longer than all pages together.
    if length > usable * pages.count as usize {
        return None;
    }
    let least = (usable - 12) * 32 / 255 - 23;
    let wanted = least + (length - least) % (usable - 4);
    let local = if wanted <= most { wanted } else { least };
    let mut record = page.get(at..at + local)?.to_vec();
    let mut next = u32_at(page, at + local)?;
    while record.len() < length {
        let overflow = pages.read(next)?;
        let part = (length - record.len()).min(usable - 4);
        record.extend_from_slice(overflow.get(4..4 + part)?);
        next = u32_at(&overflow, 0)?;
    }
    (next == 0).then_some(record)
}

/// The values of a record.
fn values(record: &[u8]) -> Option<Vec<Value>> {
    let (header, mut at) = varint(record, 0)?;
    let header = usize::try_from(header).ok().filter(|end| *end <= record.len())?;
    let mut body = header;
    let mut values = Vec::new();
    while at < header {
        let (kind, after) = varint(record, at)?;
        at = after;
        let length = match kind {
            0 | 8 | 9 => 0,
            1..=4 => usize::try_from(kind).ok()?,
            5 => 6,
            6 | 7 => 8,
            12.. => usize::try_from((kind - 12) / 2).ok()?,
            _ => return None,
        };
        let bytes = record.get(body..body.checked_add(length)?)?;
        body += length;
        values.push(match kind {
            0 => Value::Null,
            1..=6 => Value::Integer(integer(bytes)),
            7 => Value::Real(f64::from_be_bytes(bytes.try_into().ok()?)),
            8 | 9 => Value::Integer(kind - 8),
            kind if kind % 2 == 0 => Value::Blob(bytes.to_vec()),
            _ => Value::Text(std::str::from_utf8(bytes).ok()?.to_owned()),
        });
    }
    // A record has no bytes that none of its values has.
    (at == header && body == record.len()).then_some(values)
}

fn integer(bytes: &[u8]) -> i64 {
    let first = if bytes.first().is_some_and(|byte| byte & 0x80 != 0) { -1 } else { 0 };
    bytes.iter().fold(first, |number: i64, byte| number << 8 | i64::from(*byte))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_length() {
        assert_eq!(varint(&[0x7f], 0), Some((127, 1)));
        assert_eq!(varint(&[0x81, 0x00], 0), Some((128, 2)));
        assert_eq!(varint(&[0xff; 9], 0), Some((-1, 9)));
        assert_eq!(varint(&[0xff; 8], 0), None);
        assert_eq!(integer(&[0xff, 0xfe]), -2);
        assert_eq!(integer(&[0x01, 0x00]), 256);
    }

    #[test]
    fn a_record_and_what_is_none() {
        // Header of 5 bytes: null, the constant 1, one byte, a text of two.
        let record = [5, 0, 9, 1, 17, 42, b'o', b'k'];
        let read = [Value::Null, Value::Integer(1), Value::Integer(42), Value::Text("ok".into())];
        assert_eq!(values(&record).as_deref(), Some(&read[..]));
        assert_eq!(values(&record[..7]), None, "cut short");
        assert_eq!(values(&[2, 10]), None, "a kind that is not used");
        assert_eq!(values(&[9, 0]), None, "a header longer than all");
        assert_eq!(values(&[2, 15, 0xff]), None, "a text that is none");
    }
}
