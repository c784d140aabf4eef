//! Reads the text of `INFO` (<https://redis.io/docs/latest/commands/info/>).

/// The field of section `Raft` that tells a node's part.
pub const ROLE: &str = "raft_role";

/// The value of [`ROLE`] on the node that leads.
pub const LEADER: &str = "leader";

/// Returns the value of `name:value`, if a line has that name.
pub fn field(text: &str, name: &str) -> Option<String> {
    let line = text
        .lines()
        .find_map(|line| line.split_once(':').filter(|(key, _)| *key == name));
    line.map(|(_, value)| value.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_field_is_found_by_its_whole_name() {
        let text = "# Raft\r\nraft_role_since:3\r\nraft_role:leader\r\n";
        assert_eq!(field(text, ROLE).as_deref(), Some(LEADER));
        assert_eq!(field(text, "raft"), None);
    }
}
