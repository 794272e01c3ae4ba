//! Words that somebody typed, and the known ones near them.

/// "; did you mean `near`?", if one of the known words is near.
pub fn did_you_mean<'a>(given: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|name| (strsim::damerau_levenshtein(given, name), name))
        .min()
        .filter(|(distance, name)| *distance <= (name.len().max(given.len()) / 3).max(1))
        .map_or_else(String::new, |(_, name)| format!("; did you mean `{name}`?"))
}
