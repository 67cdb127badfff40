//! Guesses which known word a misspelt key was meant to be.

/// Finds the known word that is at most two edits away from `word`, the nearest first, regardless of case.
///
/// An edit adds, removes or replaces one character. Words that share no character with `word` are never proposed.
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    // Longer words cannot be near any key, and must not cost quadratic time.
    if word.len() > 64 {
        return None;
    }
    let word: Vec<char> = word.to_lowercase().chars().collect();
    known
        .iter()
        .filter(|candidate| candidate.chars().any(|c| word.contains(&c)))
        .map(|candidate| (distance(&word, candidate), *candidate))
        .filter(|(distance, candidate)| *distance <= 2 && *distance < candidate.len())
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

/// Counts the edits between two words (Levenshtein), one row of the matrix at a time.
fn distance(word: &[char], candidate: &str) -> usize {
    let mut row: Vec<usize> = (0..=word.len()).collect();
    for (i, c) in candidate.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, w) in word.iter().enumerate() {
            let replaced = diagonal + usize::from(*w != c);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[word.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proposes_the_nearest_key_only() {
        let known = ["ipv4", "ipv6", "name"];
        for (word, expected) in [
            ("ip4", Some("ipv4")),
            ("ip6", Some("ipv6")),
            ("IPv6", Some("ipv6")),
            ("v4", Some("ipv4")),
            ("naem", Some("name")),
            ("comment", None),
            ("x", None),
            ("", None),
        ] {
            assert_eq!(closest(word, &known), expected, "{word}");
        }
        assert_eq!(closest(&"n".repeat(1 << 20), &known), None);
    }
}
