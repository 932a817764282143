//! Chance: numbers that nobody can guess, from the system.

/// A random salt, new for every use of a segment.
pub fn salt() -> std::io::Result<u64> {
    getrandom::u64().map_err(|error| std::io::Error::other(error.to_string()))
}

/// Seeds of the tree's hashes: whoever chooses paths must not know how they are hashed. An error is one line.
pub fn seeds() -> Result<[u64; 4], String> {
    let mut seeds = [0; 4];
    for seed in &mut seeds {
        *seed = salt().map_err(|error| format!("no random bytes to be had: {error}"))?;
    }
    Ok(seeds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_are_alike() {
        let [a, b, c, d] = seeds().unwrap();
        assert!(a != b && b != c && c != d && seeds().unwrap() != [a, b, c, d] && salt().unwrap() != a);
    }
}
