//! Which exchanges are left out on purpose.
//!
//! A rule is a line of words that must all hold, each at most once:
//!
//! ```text
//! GET,HEAD               the method is one of these
//! /api/*/items/{}        the path, without the query: * is anything, {} one segment
//! status=5xx,404,none    the status is one of these; `none`: there was no response
//! header.NAME=PATTERN    some request header of this name has such a value; stands last, may hold blanks
//! ```

use captures::Exchange;

use super::glob::Glob;

/// What is recorded: what some `include` fits (anything, without one), but for what some `exclude` fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// One of these must fit.
    pub include: Vec<Rule>,
    /// None of these may fit.
    pub exclude: Vec<Rule>,
}

impl Filters {
    /// Whether `exchange`, still unmasked, is to be recorded.
    pub(super) fn pass(&self, exchange: &Exchange) -> bool {
        (self.include.is_empty() || self.include.iter().any(|rule| rule.fits(exchange)))
            && !self.exclude.iter().any(|rule| rule.fits(exchange))
    }
}

/// Words that must all hold for an exchange.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rule {
    typed: String,
    methods: Vec<String>,
    path: Option<Glob>,
    statuses: Vec<Status>,
    header: Option<(String, Glob)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Status {
    Is(u16),
    /// The hundreds, e.g. 5 for `5xx`.
    Class(u16),
    None,
}

impl Rule {
    /// Reads a rule.
    ///
    /// # Errors
    /// When a word is none of the above or stands there twice; says which.
    pub fn parse(typed: &str) -> Result<Self, String> {
        let mut rule = Self {
            typed: typed.trim().to_owned(),
            methods: Vec::new(),
            path: None,
            statuses: Vec::new(),
            header: None,
        };
        let mut rest = rule.typed.as_str();
        if rest.is_empty() {
            return Err("is empty; give e.g. 'GET /health*'".to_owned());
        }
        while !rest.is_empty() {
            let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
            let word = if rest.starts_with("header.") { rest } else { &rest[..end] };
            rest = rest[word.len()..].trim_start();
            let is_new = if let Some(header) = word.strip_prefix("header.") {
                rule.header.replace(header_of(header)?).is_none()
            } else if let Some(statuses) = word.strip_prefix("status=") {
                let statuses = statuses.split(',').map(Status::parse).collect::<Result<_, _>>()?;
                std::mem::replace(&mut rule.statuses, statuses).is_empty()
            } else if word.starts_with(['/', '*']) {
                if word.contains('?') {
                    return Err(format!("{word:?} has a query, which no path has; end it in *"));
                }
                rule.path.replace(glob(word)?).is_none()
            } else if word.bytes().all(|byte| byte.is_ascii_uppercase() || matches!(byte, b',' | b'-' | b'_'))
            {
                let methods = word.split(',').map(str::to_owned).collect();
                std::mem::replace(&mut rule.methods, methods).is_empty()
            } else {
                return Err(format!(
                    "{word:?} is no METHOD, /path, status=… or header.NAME=…, e.g. 'GET /health*'"
                ));
            };
            if !is_new {
                return Err(format!(
                    "{word:?} is the second of its kind; put several in one, or give two rules"
                ));
            }
        }
        Ok(rule)
    }

    /// As it was typed.
    pub fn as_str(&self) -> &str {
        &self.typed
    }

    /// Whether all its words hold for `exchange`.
    pub fn fits(&self, exchange: &Exchange) -> bool {
        let request = &exchange.request;
        let status = exchange.response.as_ref().map(|response| response.status);
        let named = |(name, value): &(String, Glob)| {
            request.headers.iter().any(|header| header.is(name) && value.fits(&header.value))
        };
        (self.methods.is_empty() || self.methods.iter().any(|method| method.as_bytes() == request.method))
            && self.path.as_ref().is_none_or(|path| path.fits(path_of(&request.target)))
            && (self.statuses.is_empty() || self.statuses.iter().any(|wanted| wanted.fits(status)))
            && self.header.as_ref().is_none_or(named)
    }
}

fn header_of(word: &str) -> Result<(String, Glob), String> {
    match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_ascii_lowercase(), glob(value)?)),
        _ => Err(format!("{:?} is no header.NAME=PATTERN", format!("header.{word}"))),
    }
}

fn glob(pattern: &str) -> Result<Glob, String> {
    Glob::parse(pattern).ok_or_else(|| format!("{pattern:?} is longer than 127 bytes"))
}

/// The path of a request target in any of its forms, without the query.
fn path_of(target: &[u8]) -> &[u8] {
    let path = target.split(|&byte| byte == b'?' || byte == b'#').next().unwrap_or_default();
    match path.windows(3).position(|window| window == b"://") {
        Some(at) if !path.starts_with(b"/") => {
            let rest = &path[at + 3..];
            &rest[rest.iter().position(|&byte| byte == b'/').unwrap_or(rest.len())..]
        }
        _ => path,
    }
}

impl Status {
    fn parse(typed: &str) -> Result<Self, String> {
        let wrong = || format!("{typed:?} is no status; give e.g. status=404,5xx or status=none");
        match typed.as_bytes() {
            b"none" => Ok(Self::None),
            [class @ b'1'..=b'5', b'x', b'x'] => Ok(Self::Class(u16::from(class - b'0'))),
            [b'1'..=b'9', _, _] => typed.parse().map(Self::Is).map_err(|_| wrong()),
            _ => Err(wrong()),
        }
    }

    fn fits(self, status: Option<u16>) -> bool {
        match self {
            Self::Is(wanted) => status == Some(wanted),
            Self::Class(wanted) => status.is_some_and(|status| status / 100 == wanted),
            Self::None => status.is_none(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::session::tests::exchange;

    /// An exchange of a request line and, after `->`, a status.
    fn asked(line: &str, headers: &[&str]) -> Exchange {
        let mut exchange = exchange(headers);
        let (request, status) = line.split_once(" -> ").unwrap_or((line, ""));
        let (method, target) = request.split_once(' ').unwrap();
        exchange.request.method = method.into();
        exchange.request.target = target.into();
        match (status.parse(), &mut exchange.response) {
            (Ok(status), Some(response)) => response.status = status,
            _ => exchange.response = None,
        }
        exchange
    }

    #[test]
    fn all_words_of_a_rule_must_hold() {
        let check = |rule: &str, line: &str, expected| {
            let headers = ["> User-Agent: Mozilla/5.0 (Bot 2)", "> X-Tenant: acme"];
            assert_eq!(Rule::parse(rule).unwrap().fits(&asked(line, &headers)), expected, "{rule} {line}");
        };
        check("/health*", "GET /healthz?x=1 -> 200", true);
        check("/health*", "GET http://shop/healthz -> 200", true);
        check("/health*", "GET /ahealth -> 200", false);
        check("GET /health*", "POST /health -> 200", false);
        check("GET,POST /health*", "POST /health -> 200", true);
        check("POST", "POST /cart -> 200", true);
        check("*.css", "GET /a/b.css?v=/x.js -> 200", true);
        check("* status=none", "GET /", true);
        check("status=none", "GET / -> 200", false);
        check("status=5xx,404", "GET / -> 404", true);
        check("status=5xx,404", "GET / -> 503", true);
        check("status=5xx,404", "GET / -> 403", false);
        check("status=5xx,404", "GET /", false);
        check("header.x-tenant=acme", "GET / -> 200", true);
        check("header.x-tenant=acm", "GET / -> 200", false);
        check("header.x-other=*", "GET / -> 200", false);
        check("GET /{} status=2xx header.User-Agent=*(Bot *", "GET /a -> 204", true);
        check("GET /{} status=2xx header.User-Agent=*(Bot *", "GET /a/b -> 204", false);
        check("GET /redirect", "GET /redirect?to=http://a/b -> 302", true);
    }

    #[test]
    fn a_rule_that_cannot_be_meant_is_refused() {
        for wrong in [
            "",
            " ",
            "health",
            "status=6xx",
            "get /",
            "/a /b",
            "GET POST",
            "/a?b",
            "status=",
            "status=6",
            "status=20",
            "status=+20",
            "status=abc",
            "status=200,",
            "header.=x",
            "header.x",
            "header.x: y",
            "code=200",
        ] {
            assert!(Rule::parse(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn what_is_included_is_recorded_but_for_what_is_excluded() {
        let rules = |typed: &[&str]| typed.iter().map(|typed| Rule::parse(typed).unwrap()).collect();
        let check = |include: &[&str], exclude: &[&str], line: &str, expected| {
            let filters = Filters { include: rules(include), exclude: rules(exclude) };
            assert_eq!(filters.pass(&asked(line, &[])), expected, "{filters:?} {line}");
        };
        check(&[], &[], "GET / -> 200", true);
        check(&["/a*", "/b*"], &[], "GET /b -> 200", true);
        check(&["/a*", "/b*"], &[], "GET /c -> 200", false);
        check(&["/a*"], &["/a/private*"], "GET /a/private -> 200", false);
        check(&[], &["/static*"], "GET / -> 200", true);
    }
}
