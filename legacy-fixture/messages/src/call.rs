//! Which endpoint a request means.
//!
//! A pure function of method and path; Rails' method override is honoured, because the monolith's pages use it.
//!
//! What must stay true: `/users/3/messages/unread_count` is not a message, a suffix `.json` changes nothing, and a path
//! that is unknown or has no number where an id belongs is 404 before anybody asks who calls.

use http::Method;

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Call {
    Inbox { user: i64 },
    Conversations { user: i64 },
    Conversation { user: i64, other: i64 },
    UnreadCount { user: i64 },
    Show { message: i64 },
    Create,
    Update { message: i64 },
    MarkRead { message: i64 },
    Delete { message: i64 },
}

impl Call {
    /// The call of `method` (after any override) on `path` (from [`plain`]); `None` when there is no such thing.
    pub(crate) fn of(method: &Method, path: &str) -> Option<Self> {
        let segments: Vec<&str> = path.split('/').skip(1).collect();
        Some(match (method.as_str(), segments.as_slice()) {
            ("GET" | "HEAD", ["users", user, "messages"]) => Self::Inbox { user: id(user)? },
            ("GET" | "HEAD", ["users", user, "messages", "unread_count"]) => {
                Self::UnreadCount { user: id(user)? }
            }
            ("GET" | "HEAD", ["users", user, "conversations"]) => {
                Self::Conversations { user: id(user)? }
            }
            ("GET" | "HEAD", ["users", user, "conversations", other]) => {
                Self::Conversation { user: id(user)?, other: id(other)? }
            }
            ("GET" | "HEAD", ["messages", message]) => Self::Show { message: id(message)? },
            ("POST", ["messages"]) => Self::Create,
            ("PATCH" | "PUT", ["messages", message]) => Self::Update { message: id(message)? },
            ("PUT", ["messages", message, "read"]) => Self::MarkRead { message: id(message)? },
            ("DELETE", ["messages", message]) => Self::Delete { message: id(message)? },
            _ => return None,
        })
    }
}

/// The path without trailing slashes and without a format suffix.
pub(crate) fn plain(path: &str) -> &str {
    let path = path.trim_end_matches('/');
    path.strip_suffix(".json").unwrap_or(path)
}

/// The method that a POST with `_method` or `X-HTTP-Method-Override` stands for; other methods stay.
pub(crate) fn overridden(method: &Method, header: Option<&str>, field: Option<&str>) -> Method {
    let wanted = field.or(header).map(str::to_ascii_uppercase);
    match (method.as_str(), wanted.as_deref()) {
        ("POST", Some("PATCH")) => Method::PATCH,
        ("POST", Some("PUT")) => Method::PUT,
        ("POST", Some("DELETE")) => Method::DELETE,
        _ => method.clone(),
    }
}

fn id(segment: &str) -> Option<i64> {
    segment.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_endpoint_of_the_contract_is_known() {
        let get = |path| Call::of(&Method::GET, plain(path)).unwrap();
        assert_eq!(get("/users/3/messages"), Call::Inbox { user: 3 });
        assert_eq!(get("/users/3/messages.json"), Call::Inbox { user: 3 });
        assert_eq!(get("/users/3/messages/"), Call::Inbox { user: 3 });
        assert_eq!(get("/users/3/messages/unread_count"), Call::UnreadCount { user: 3 });
        assert_eq!(get("/users/3/conversations"), Call::Conversations { user: 3 });
        assert_eq!(get("/users/3/conversations/17"), Call::Conversation { user: 3, other: 17 });
        assert_eq!(get("/messages/91"), Call::Show { message: 91 });
        let call = |method, path| Call::of(&method, path).unwrap();
        assert_eq!(call(Method::HEAD, "/messages/91"), Call::Show { message: 91 });
        assert_eq!(call(Method::POST, "/messages"), Call::Create);
        assert_eq!(call(Method::PATCH, "/messages/9"), Call::Update { message: 9 });
        assert_eq!(call(Method::PUT, "/messages/9/read"), Call::MarkRead { message: 9 });
        assert_eq!(call(Method::DELETE, "/messages/9"), Call::Delete { message: 9 });
    }

    #[test]
    fn odd_paths_are_nothing() {
        for path in [
            "",
            "/",
            "/messages",
            "/messages/x",
            "/messages/99999999999999999999",
            "/messages/9/read",
            "/users/3",
            "/users/x/messages",
            "/users/3/messages/4",
            "/users/3/conversations/y",
        ] {
            assert_eq!(Call::of(&Method::GET, plain(path)), None, "{path}");
        }
    }

    #[test]
    fn only_a_post_is_overridden() {
        let of = |method: Method, header, field| overridden(&method, header, field);
        assert_eq!(of(Method::POST, None, Some("patch")), Method::PATCH);
        assert_eq!(of(Method::POST, Some("DELETE"), None), Method::DELETE);
        assert_eq!(of(Method::POST, None, Some("get")), Method::POST);
        assert_eq!(of(Method::GET, Some("DELETE"), None), Method::GET);
    }
}
