//! Where in a list the user is.

/// A place in a list that may change under it: it stays with its row's key; at the top, where nobody moved it, it stays there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Cursor {
    key: Option<i64>,
    row: usize,
    /// The first row that is shown.
    pub first: usize,
    /// How many rows were shown when it was last drawn.
    pub shown: usize,
}

impl Cursor {
    /// Where it is in these rows.
    pub fn row(&self, keys: &[i64]) -> Option<usize> {
        let last = keys.len().checked_sub(1)?;
        Some(self.key.and_then(|key| keys.iter().position(|k| *k == key)).unwrap_or(self.row).min(last))
    }

    /// The key of its row.
    pub fn key(&self, keys: &[i64]) -> Option<i64> {
        keys.get(self.row(keys)?).copied()
    }

    /// Moves it by so many rows.
    pub fn move_by(&mut self, keys: &[i64], rows: isize) {
        if let Some(row) = self.row(keys) {
            self.move_to(keys, row.saturating_add_signed(rows));
        }
    }

    /// Moves it to a row, or to the last.
    pub fn move_to(&mut self, keys: &[i64], row: usize) {
        self.row = row.min(keys.len().saturating_sub(1));
        self.key = if self.row == 0 { None } else { keys.get(self.row).copied() };
    }

    /// Settles what is shown in so many rows, so that it is among them.
    pub fn show(&mut self, keys: &[i64], shown: usize) {
        self.shown = shown;
        self.row = self.row(keys).unwrap_or(0);
        self.first = self.first.min(keys.len().saturating_sub(shown)).min(self.row);
        if self.row >= self.first + shown {
            self.first = self.row + 1 - shown;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_with_its_row_and_at_the_top() {
        let mut cursor = Cursor::default();
        assert_eq!(cursor.key(&[]), None);
        assert_eq!(cursor.key(&[5, 4, 3]), Some(5));
        assert_eq!(cursor.key(&[6, 5, 4, 3]), Some(6), "at the top");
        cursor.move_by(&[6, 5, 4, 3], 1);
        assert_eq!(cursor.key(&[8, 7, 6, 5, 4, 3]), Some(5));
        assert_eq!(cursor.key(&[8, 7]), Some(7), "its row has gone");
        cursor.move_by(&[8, 7], -5);
        assert_eq!(cursor.key(&[9, 8, 7]), Some(9));
        cursor.move_by(&[9, 8, 7], 99);
        assert_eq!(cursor.key(&[9, 8, 7]), Some(7));
    }

    #[test]
    fn what_is_shown_holds_it() {
        let keys: Vec<i64> = (0..100).collect();
        let mut cursor = Cursor::default();
        cursor.move_to(&keys, 50);
        cursor.show(&keys, 10);
        assert_eq!(cursor.first, 41);
        cursor.move_by(&keys, -5);
        cursor.show(&keys, 10);
        assert_eq!(cursor.first, 41);
        cursor.show(&keys[..3], 10);
        assert_eq!(cursor.first, 0);
        cursor.show(&keys, 0);
    }
}
