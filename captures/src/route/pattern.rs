//! Patterns that pick routes by their names: `POST /checkout`, `/api/*`.

use std::fmt;

/// A pattern of routes: `POST /checkout`, `/api/*` (any method), `GET *`. `*` stands for any text.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoutePattern {
    text: String,
}

impl RoutePattern {
    /// The pattern that `text` writes; one that begins with `/` or `*` is for any method.
    pub fn new(text: &str) -> Self {
        let text = text.trim();
        let any_method = text.starts_with(['/', '*']);
        Self { text: if any_method { format!("* {text}") } else { text.to_owned() } }
    }

    /// Whether a route's name, `GET /product/{}`, fits.
    pub fn matches(&self, route: &str) -> bool {
        glob(self.text.as_bytes(), route.as_bytes()) || self.text == "* *"
    }
}

impl fmt::Display for RoutePattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.text.strip_prefix("* ").unwrap_or(&self.text))
    }
}

/// Whether `text` fits `pattern`, in which `*` stands for any bytes. Linear in both but for the last star.
fn glob(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut of) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    while at < text.len() {
        if pattern.get(of) == Some(&b'*') {
            star = Some((of, at));
            of += 1;
        } else if pattern.get(of) == Some(&text[at]) {
            (at, of) = (at + 1, of + 1);
        } else if let Some((place, tried)) = star {
            star = Some((place, tried + 1));
            (at, of) = (tried + 1, place + 1);
        } else {
            return false;
        }
    }
    pattern[of..].iter().all(|&byte| byte == b'*')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_fit_routes() {
        for (pattern, route, fits) in [
            ("POST /checkout", "POST /checkout", true),
            ("POST /checkout", "GET /checkout", false),
            ("/checkout", "GET /checkout", true),
            ("/api/*", "GET /api/v1/{}", true),
            ("/api/*", "GET /app", false),
            ("GET *", "GET /a/b", true),
            ("GET *", "POST /a/b", false),
            ("*", "other", true),
            ("/*/{}", "GET /a/{}", true),
            ("/*/{}", "GET /a/{}/b", false),
        ] {
            assert_eq!(RoutePattern::new(pattern).matches(route), fits, "{pattern} on {route}");
        }
    }
}
