//! Statuses, headers and bodies of HTTP responses. Must not depend on how a request came to its
//! answer.

use relogin_res::{
    Error, code,
    service::{Headers, Meta},
};

use super::{
    Answer, Encoding, Outcome,
    encoding::encode,
    path::{method_not_allowed, path_of},
};

/// An HTTP response.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpResponse {
    /// The status.
    pub status: u16,
    /// Headers by their canonical names, but for the content type.
    pub header: Headers,
    /// JSON; empty if there is nothing to say.
    pub body: Vec<u8>,
}

const LOCATION: &str = "Location";

impl Answer {
    /// About how many values its text is made of; none if they lead to more that are written as
    /// often as they are referred to.
    #[must_use]
    pub fn values(&self) -> Option<usize> {
        match &self.outcome {
            Outcome::Resources(resources) => resources.values(),
            _ => Some(1),
        }
    }

    /// The response to a request with the method `http_method`. `api_path` ends with a slash; no
    /// body has more than about `max` bytes.
    #[must_use]
    pub fn into_response(self, http_method: &str, encoding: Encoding, api_path: &str, max: usize) -> HttpResponse {
        let Self { status, mut header, outcome } = self;
        if let Some(status) = status {
            if let Outcome::Location(rid) = &outcome
                && status < 400
            {
                header.entry(LOCATION.to_owned()).or_insert_with(|| vec![path_of(rid, api_path)]);
            }
            let body = match outcome {
                _ if status < 400 => Vec::new(),
                Outcome::Error(error) => json(&error),
                _ => json(&Meta::error_of(status)),
            };
            return HttpResponse { status, header, body };
        }
        let result = match outcome {
            Outcome::Resources(resources) => encode(&resources, encoding, api_path, max),
            Outcome::Result(result) if result.get() == "null" => Ok(Vec::new()),
            Outcome::Result(result) => Ok(result.get().as_bytes().to_vec()),
            Outcome::Location(rid) => {
                header.insert(LOCATION.to_owned(), vec![path_of(&rid, api_path)]);
                return HttpResponse { status: 200, header, body: Vec::new() };
            }
            Outcome::Error(error) => Err(error),
            Outcome::Nothing => Ok(Vec::new()),
        };
        match result {
            Ok(body) => HttpResponse { status: if body.is_empty() { 204 } else { 200 }, header, body },
            Err(error) => HttpResponse { header, ..error_response(error, http_method) },
        }
    }
}

/// The response to a request that has failed.
#[must_use]
pub fn error_response(error: Error, http_method: &str) -> HttpResponse {
    // It is the HTTP method that the resource has not.
    let is_mapped = matches!(http_method, "PUT" | "PATCH" | "DELETE");
    let error = if error.is(code::METHOD_NOT_FOUND) && is_mapped { method_not_allowed() } else { error };
    HttpResponse { status: status_of(&error), header: Headers::new(), body: json(&error) }
}

fn status_of(error: &Error) -> u16 {
    match error.code.as_ref() {
        code::NOT_FOUND | code::METHOD_NOT_FOUND | code::TIMEOUT => 404,
        code::ACCESS_DENIED => 401,
        "system.methodNotAllowed" => 405,
        "system.forbidden" => 403,
        code::SUBJECT_TOO_LONG => 414,
        code::TOO_MANY_REQUESTS => 429,
        code::INTERNAL_ERROR => 500,
        "system.serviceUnavailable" => 503,
        _ => 400,
    }
}

fn json(error: &Error) -> Vec<u8> {
    serde_json::to_vec(error).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use relogin_res::ResourceId;
    use serde_json::value::RawValue;

    use super::*;

    fn respond(status: Option<u16>, outcome: Outcome, http_method: &str) -> (u16, Option<String>, String) {
        let answer = Answer { status, header: Headers::new(), outcome };
        let response = answer.into_response(http_method, Encoding::Json, "/api/", 1 << 20);
        let location = response.header.get(LOCATION).map(|it| it.concat());
        (response.status, location, String::from_utf8(response.body).unwrap())
    }

    fn result(text: &str) -> Outcome {
        Outcome::Result(RawValue::from_string(text.to_owned()).unwrap())
    }

    #[test]
    fn results_have_the_usual_statuses() {
        assert_eq!(respond(None, result("[1]"), "POST"), (200, None, "[1]".into()));
        assert_eq!(respond(None, result("null"), "POST"), (204, None, String::new()));
        let rid = ResourceId::parse("a.b?c=1").unwrap();
        assert_eq!(
            respond(None, Outcome::Location(rid.clone()), "POST"),
            (200, Some("/api/a/b?c=1".into()), String::new())
        );
        assert_eq!(
            respond(Some(302), Outcome::Location(rid), "POST"),
            (302, Some("/api/a/b?c=1".into()), String::new())
        );
    }

    #[test]
    fn errors_have_the_statuses_of_their_codes() {
        let status = |code: &'static str, method: &str| respond(None, Outcome::Error(Error::new(code, "")), method).0;
        for (code, expected) in [
            ("system.notFound", 404),
            ("system.methodNotFound", 404),
            ("system.timeout", 404),
            ("system.accessDenied", 401),
            ("system.methodNotAllowed", 405),
            ("system.forbidden", 403),
            ("system.subjectTooLong", 414),
            ("system.tooManyRequests", 429),
            ("system.internalError", 500),
            ("system.serviceUnavailable", 503),
            ("system.invalidParams", 400),
            ("a.b", 400),
        ] {
            assert_eq!(status(code, "POST"), expected, "{code}");
        }
        assert_eq!(status("system.methodNotFound", "PUT"), 405);
    }

    #[test]
    fn a_status_set_by_a_service_takes_precedence() {
        let (status, _, body) = respond(Some(402), result("[1]"), "POST");
        assert_eq!((status, body.as_str()), (402, r#"{"code":"system.accessDenied","message":"Access denied"}"#));
        let (status, _, body) = respond(Some(404), Outcome::Error(Error::new("a.b", "c")), "GET");
        assert_eq!((status, body.as_str()), (404, r#"{"code":"a.b","message":"c"}"#));
        assert_eq!(respond(Some(303), Outcome::Nothing, "GET"), (303, None, String::new()));
    }
}
