//! The ways in which well-known frameworks carry their tokens, each in one session.

use super::tests::{Answer, Traffic, answer, bindings};

const FORM: &str = "Content-Type: application/x-www-form-urlencoded";
const JSON: &str = "Content-Type: application/json";

fn page(text: impl Into<String>) -> Answer {
    answer(200, "text/html; charset=utf-8", text)
}

fn led(to: &str) -> Answer {
    answer(302, "text/html", "").with("Location", to)
}

fn json(text: impl Into<String>) -> Answer {
    answer(200, "application/json", text)
}

/// What is found in a session of `steps`: method and target, lines of the head, body, answer.
fn found(steps: Vec<(&str, String, String, Answer)>) -> Vec<String> {
    let mut traffic = Traffic::default();
    for (line, head, body, answer) in steps {
        traffic.exchange(1, line, &head, &body, answer);
    }
    bindings(&traffic.found())
}

fn tokens<const N: usize>() -> [String; N] {
    let mut traffic = Traffic::default();
    std::array::from_fn(|_| traffic.token())
}

fn none() -> String {
    String::new()
}

#[test]
fn rails_gives_its_token_in_a_meta_and_in_forms() {
    let [meta, field, cookie] = tokens();
    let jar = format!("Cookie: _shop_session={cookie}");
    let text = format!(
        "<meta name=\"csrf-param\" content=\"authenticity_token\"><meta name=\"csrf-token\" content=\"{meta}==\">\
         <form action=\"/posts\" method=\"post\"><input type=\"hidden\" name=\"authenticity_token\" value=\"{field}==\">"
    );
    let steps = vec![
        ("GET /posts/new", none(), none(), page(text).with("Set-Cookie", format!("_shop_session={cookie}"))),
        (
            "POST /posts",
            format!("{jar}\n{FORM}"),
            format!("authenticity_token={field}%3D%3D&post%5Btitle%5D=x"),
            led("/posts/7"),
        ),
        ("GET /posts/7", jar.clone(), none(), page("")),
        ("DELETE /posts/7", format!("{jar}\nX-CSRF-Token: {meta}=="), none(), led("/posts")),
    ];
    assert_eq!(
        found(steps),
        [
            "cookie _shop_session -> cookie _shop_session of *",
            "input authenticity_token of GET /posts/new -> form authenticity_token of POST /posts",
            "location segment 2 of POST /posts -> segment 2 of DELETE /posts/{}",
            "location segment 2 of POST /posts -> segment 2 of GET /posts/{}",
            "meta csrf-token of GET /posts/new -> header x-csrf-token of DELETE /posts/{}",
        ]
    );
}

#[test]
fn a_cookie_that_is_sent_twice_goes_into_the_header_without_its_percents() {
    // Laravel, Angular, axios: the cookie is encoded, the header is not.
    let [xsrf, session] = tokens();
    let jar = format!("Cookie: XSRF-TOKEN={xsrf}%3D; laravel_session={session}%3D");
    let set = json("{}")
        .with("Set-Cookie", format!("XSRF-TOKEN={xsrf}%3D; path=/"))
        .with("Set-Cookie", format!("laravel_session={session}%3D; path=/; httponly"));
    let steps = vec![
        ("GET /sanctum/csrf-cookie", none(), none(), set),
        (
            "POST /login",
            format!("{jar}\n{JSON}\nX-XSRF-TOKEN: {xsrf}="),
            r#"{"email":"a@b.test","password":"x"}"#.to_owned(),
            json("{}"),
        ),
    ];
    assert_eq!(
        found(steps),
        [
            "cookie XSRF-TOKEN -> cookie XSRF-TOKEN of *",
            "cookie XSRF-TOKEN decoded -> header x-xsrf-token of POST /login",
            "cookie laravel_session -> cookie laravel_session of *",
        ]
    );
}

#[test]
fn asp_net_and_spring_carry_their_state_in_hidden_fields() {
    let [state, check, forgery, csrf] = tokens();
    let text = format!(
        "<form><input type=\"hidden\" name=\"__VIEWSTATE\" id=\"__VIEWSTATE\" value=\"/wEPDwUK{state}{check}==\" />\
         <input type=\"hidden\" name=\"__EVENTVALIDATION\" value=\"/wEdAAM{check}\" />\
         <input name=\"__RequestVerificationToken\" type=\"hidden\" value=\"CfDJ8{forgery}\" />\
         <input type=\"hidden\" name=\"_csrf\" value=\"{csrf}\"/></form>"
    );
    let body = format!(
        "__VIEWSTATE=%2FwEPDwUK{state}{check}%3D%3D&__EVENTVALIDATION=%2FwEdAAM{check}&__RequestVerificationToken=CfDJ8{forgery}&_csrf={csrf}&quantity=1"
    );
    let steps = vec![
        ("GET /Orders.aspx", none(), none(), page(text)),
        ("POST /Orders.aspx", FORM.to_owned(), body, page("")),
    ];
    assert_eq!(
        found(steps),
        ["__EVENTVALIDATION", "__RequestVerificationToken", "__VIEWSTATE", "_csrf"]
            .map(|name| format!("input {name} of GET /Orders.aspx -> form {name} of POST /Orders.aspx"))
    );
}

#[test]
fn a_login_with_oauth_carries_code_and_state_through_its_redirects() {
    let [state, nonce, code, access, refresh] = tokens();
    let authorize = format!("/authorize?client_id=shop&state={state}&nonce={nonce}&response_type=code");
    let callback = format!("/callback?code={code}&state={state}");
    let get = format!("GET {authorize}");
    let back = format!("GET {callback}");
    let steps = vec![
        ("GET /login", none(), none(), led(&format!("http://shop.test{authorize}"))),
        (get.as_str(), none(), none(), led(&format!("http://shop.test{callback}"))),
        (back.as_str(), none(), none(), page("")),
        (
            "POST /oauth/token",
            FORM.to_owned(),
            format!("grant_type=authorization_code&code={code}"),
            json(format!(r#"{{"access_token":"{access}","refresh_token":"{refresh}","expires_in":3600}}"#)),
        ),
        ("GET /api/me", format!("Authorization: Bearer {access}"), none(), json("{}")),
        (
            "POST /oauth/token",
            FORM.to_owned(),
            format!("grant_type=refresh_token&refresh_token={refresh}"),
            json("{}"),
        ),
    ];
    assert_eq!(
        found(steps),
        [
            "json /access_token of POST /oauth/token -> header authorization of GET /api/me",
            "json /refresh_token of POST /oauth/token -> form refresh_token of POST /oauth/token",
            "location query code of GET /authorize -> form code of POST /oauth/token",
            "location query code of GET /authorize -> query code of GET /callback",
            "location query nonce of GET /login -> query nonce of GET /authorize",
            "location query state of GET /login -> query state of GET /authorize",
            "location query state of GET /login -> query state of GET /callback",
        ]
    );
}

#[test]
fn graphql_gives_and_takes_under_its_variables() {
    let [token] = tokens();
    let bearer = format!("{JSON}\nAuthorization: Bearer {token}");
    let steps = vec![
        (
            "POST /graphql",
            JSON.to_owned(),
            r#"{"query":"mutation($u:String!){login(user:$u){token}}","variables":{"u":"ann","password":"x"}}"#.to_owned(),
            json(format!(r#"{{"data":{{"login":{{"token":"{token}"}}}}}}"#)),
        ),
        (
            "POST /graphql",
            bearer.clone(),
            r#"{"query":"mutation{createOrder(quantity:1){id}}","variables":{"quantity":1}}"#.to_owned(),
            json(r#"{"data":{"createOrder":{"id":"4711"}}}"#),
        ),
        (
            "POST /graphql",
            bearer,
            r#"{"query":"query($orderId:ID!){order(id:$orderId){state}}","variables":{"orderId":"4711"}}"#.to_owned(),
            json(r#"{"data":{"order":{"state":"open"}}}"#),
        ),
    ];
    assert_eq!(
        found(steps),
        [
            "json /data/createOrder/id of POST /graphql -> json /variables/orderId of POST /graphql",
            "json /data/login/token of POST /graphql -> header authorization of POST /graphql",
        ]
    );
}

#[test]
fn wordpress_and_phoenix_give_short_nonces_and_tokens_in_scripts_and_links() {
    let [csrf] = tokens();
    // A nonce of WordPress has ten hexadecimal digits.
    let text = format!(
        "<script>var wpApiSettings = {{\"root\":\"\\/wp-json\\/\",\"nonce\":\"3f9a0c51de\"}};</script>\
         <a href=\"/wp-admin/post.php?post=17&amp;action=trash&amp;_wpnonce=a81be0772c\">Trash</a>\
         <input type=\"hidden\" name=\"_wpnonce\" value=\"77ab01c9d2\"><meta content=\"{csrf}\" name=\"csrf-token\">"
    );
    let steps = vec![
        ("GET /wp-admin/edit.php", none(), none(), page(text)),
        (
            "POST /wp-json/wp/v2/posts",
            format!("{JSON}\nX-WP-Nonce: 3f9a0c51de"),
            r#"{"title":"x"}"#.to_owned(),
            json(r#"{"id":18}"#),
        ),
        (
            "GET /wp-admin/post.php?post=17&action=trash&_wpnonce=a81be0772c",
            none(),
            none(),
            led("/wp-admin/edit.php"),
        ),
        (
            "POST /wp-admin/edit.php",
            FORM.to_owned(),
            "_wpnonce=77ab01c9d2&action=-1".to_owned(),
            led("/wp-admin/edit.php"),
        ),
        ("POST /session", format!("{FORM}\nx-csrf-token: {csrf}"), none(), led("/")),
    ];
    assert_eq!(
        found(steps),
        [
            "input _wpnonce of GET /wp-admin/edit.php -> form _wpnonce of POST /wp-admin/edit.php",
            "link /wp-admin/post.php query _wpnonce of GET /wp-admin/edit.php -> query _wpnonce of GET /wp-admin/post.php",
            "meta csrf-token of GET /wp-admin/edit.php -> header x-csrf-token of POST /session",
            "script nonce of GET /wp-admin/edit.php -> header x-wp-nonce of POST /wp-json/wp/v2/posts",
        ]
    );
}

#[test]
fn next_auth_gives_its_token_as_json_and_a_cookie_that_holds_it() {
    let [csrf, hash, session] = tokens();
    let jar = format!("Cookie: next-auth.csrf-token={csrf}%7C{hash}");
    let set = json(format!(r#"{{"csrfToken":"{csrf}"}}"#))
        .with("Set-Cookie", format!("next-auth.csrf-token={csrf}%7C{hash}; Path=/; HttpOnly"));
    let login = led("/").with("Set-Cookie", format!("next-auth.session-token={session}; Path=/"));
    let steps = vec![
        ("GET /api/auth/csrf", none(), none(), set),
        (
            "POST /api/auth/callback/credentials",
            format!("{jar}\n{FORM}"),
            format!("csrfToken={csrf}&username=a&password=x"),
            login,
        ),
        ("GET /api/auth/session", format!("{jar}; next-auth.session-token={session}"), none(), json("{}")),
    ];
    assert_eq!(
        found(steps),
        [
            "cookie next-auth.csrf-token -> cookie next-auth.csrf-token of *",
            "cookie next-auth.session-token -> cookie next-auth.session-token of *",
            "json /csrfToken of GET /api/auth/csrf -> form csrfToken of POST /api/auth/callback/credentials",
        ]
    );
}
