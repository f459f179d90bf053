//! Tokens of all four algorithms: good ones, and what attackers make of them.

use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use base64::{
    Engine,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use relogin_session::UserId;
use ring::{
    hmac,
    rand::SystemRandom,
    signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair},
};
use serde_json::{Value, json};

use super::{
    keys::{Algorithm, Key, keys_in},
    token::{ClaimNames, MAX_LEN, Rules, TokenRefusal, VerifiedClaims, read},
    *,
};

/// The year 2026, a whole second.
pub(crate) const NOW: Timestamp = Timestamp(1_790_000_000_000);
const SECRET: [u8; 32] = [5; 32];
/// A key pair for tests: `openssl genrsa 2048 | openssl pkcs8 -topk8 -nocrypt`, and the public half
/// of it.
const RSA: &str = include_str!("../../tests/issuers/rsa.pem");
const RSA_PUBLIC: &str = include_str!("../../tests/issuers/rsa.pub.pem");

/// Signs tokens.
enum Signer {
    Hs256(Vec<u8>),
    Rs256(Box<RsaKeyPair>),
    Es256(EcdsaKeyPair),
    EdDsa(Ed25519KeyPair),
}

fn random() -> SystemRandom {
    SystemRandom::new()
}

fn rsa() -> Signer {
    let der: String = RSA.lines().filter(|line| !line.starts_with("-----")).collect();
    Signer::Rs256(Box::new(RsaKeyPair::from_pkcs8(&STANDARD.decode(der).unwrap()).unwrap()))
}

fn p256() -> Signer {
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random()).unwrap();
    Signer::Es256(EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref(), &random()).unwrap())
}

fn ed25519(seed: u8) -> Signer {
    Signer::EdDsa(Ed25519KeyPair::from_seed_unchecked(&[seed; 32]).unwrap())
}

fn all() -> [Signer; 4] {
    [Signer::Hs256(SECRET.into()), rsa(), p256(), ed25519(1)]
}

impl Signer {
    fn alg(&self) -> &'static str {
        match self {
            Self::Hs256(_) => "HS256",
            Self::Rs256(_) => "RS256",
            Self::Es256(_) => "ES256",
            Self::EdDsa(_) => "EdDSA",
        }
    }

    fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Hs256(secret) => hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, secret), message).as_ref().to_vec(),
            Self::Rs256(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                pair.sign(&RSA_PKCS1_SHA256, &random(), message, &mut signature).unwrap();
                signature
            }
            Self::Es256(pair) => pair.sign(&random(), message).unwrap().as_ref().to_vec(),
            Self::EdDsa(pair) => pair.sign(message).as_ref().to_vec(),
        }
    }

    fn token(&self, head: &Value, claims: &str) -> String {
        self.signed(&head.to_string(), claims)
    }

    fn signed(&self, head: &str, claims: &str) -> String {
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(head), URL_SAFE_NO_PAD.encode(claims));
        format!("{message}.{}", URL_SAFE_NO_PAD.encode(self.sign(message.as_bytes())))
    }

    fn jwk(&self, kid: &str) -> Value {
        let b64 = |bytes: &[u8]| URL_SAFE_NO_PAD.encode(bytes);
        match self {
            Self::Hs256(secret) => json!({ "kty": "oct", "k": b64(secret), "kid": kid }),
            Self::Rs256(pair) => {
                let public = ring::rsa::PublicKeyComponents::<Vec<u8>>::from(pair.public());
                json!({ "kty": "RSA", "n": b64(&public.n), "e": b64(&public.e), "kid": kid, "use": "sig", "alg": "RS256" })
            }
            Self::Es256(pair) => {
                let point = pair.public_key().as_ref();
                json!({ "kty": "EC", "crv": "P-256", "x": b64(&point[1..33]), "y": b64(&point[33..]), "kid": kid })
            }
            Self::EdDsa(pair) => {
                json!({ "kty": "OKP", "crv": "Ed25519", "x": b64(pair.public_key().as_ref()), "kid": kid, "alg": "EdDSA" })
            }
        }
    }
}

fn keys(signers: &[(&Signer, &str)]) -> Vec<Key> {
    let keys: Vec<_> = signers.iter().map(|(signer, kid)| signer.jwk(kid)).collect();
    keys_in(&json!({ "keys": keys }).to_string()).unwrap()
}

fn rules() -> Rules {
    Rules {
        issuer: "https://sso.example".to_owned(),
        audience: "chat".to_owned(),
        algorithms: vec![Algorithm::Hs256, Algorithm::Rs256, Algorithm::Es256, Algorithm::EdDsa],
        kind: None,
        leeway: 30,
        names: ClaimNames { id: "sub".to_owned(), name: "name".to_owned(), role: "role".to_owned() },
        default_role: None,
        id_prefix: String::new(),
    }
}

fn claims() -> Value {
    json!({
        "iss": "https://sso.example", "aud": "chat", "sub": "jane@example", "name": "Jane Doe", "role": "user",
        "iat": NOW.0 / 1000, "exp": NOW.0 / 1000 + 60,
    })
}

/// Good claims, but for one of them.
fn with(name: &str, value: Value) -> String {
    let mut claims = claims();
    claims[name] = value;
    claims.to_string()
}

fn without(name: &str) -> String {
    let mut claims = claims();
    claims.as_object_mut().unwrap().remove(name);
    claims.to_string()
}

/// The result for claims with a good signature.
fn of_claims(claims: &str, rules: &Rules) -> Result<VerifiedClaims, TokenRefusal> {
    let signer = ed25519(1);
    read(&signer.token(&json!({ "alg": "EdDSA", "kid": "a" }), claims), rules, &keys(&[(&signer, "a")]), NOW)
}

fn user(id: UserId) -> User {
    User { id, name: "Jane Doe".to_owned(), role: "user".to_owned() }
}

#[test]
fn tokens_of_all_four_algorithms_say_who_their_users_are() {
    for signer in all() {
        let token = signer.token(&json!({ "alg": signer.alg(), "typ": "JWT", "kid": "a" }), &claims().to_string());
        let said = read(&token, &rules(), &keys(&[(&signer, "a")]), NOW).unwrap();
        assert_eq!(said.user, user(UserId::Text("jane@example".to_owned())), "{}", signer.alg());
        assert_eq!(said.until, Timestamp(NOW.0 + 90_000));
    }
}

/// RFC 7515, appendix A.1, A.2 and A.3, and RFC 8037, appendix A.4: not only what we sign
/// ourselves.
#[test]
fn signatures_made_by_others_verify() {
    for (jwk, token) in include_str!("../../tests/issuers/rfc.txt")
        .split("\n\n")
        .map(|example| example.trim().split_once('\n').unwrap())
    {
        let keys = keys_in(jwk).unwrap();
        let (message, signature) = token.rsplit_once('.').unwrap();
        let signature = URL_SAFE_NO_PAD.decode(signature).unwrap();
        assert!(keys[0].verifies(message.as_bytes(), &signature), "{token}");
        assert!(!keys[0].verifies(&message.as_bytes()[1..], &signature), "{token}");
    }
}

#[test]
fn a_token_that_is_signed_by_nobody_is_refused() {
    let signer = ed25519(1);
    let keys = keys(&[(&signer, "a")]);
    let claims = claims().to_string();
    for alg in ["none", "None", "NONE", "nOnE", ""] {
        let token = signer.token(&json!({ "alg": alg, "kid": "a" }), &claims);
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        assert_eq!(read(&token, &rules(), &keys, NOW), Err(TokenRefusal::Algorithm), "{alg}");
        assert_eq!(read(&unsigned, &rules(), &keys, NOW), Err(TokenRefusal::Algorithm), "{alg}");
    }
    let token = signer.token(&json!({ "alg": "EdDSA" }), &claims);
    let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
    assert_eq!(read(&unsigned, &rules(), &keys, NOW), Err(TokenRefusal::Signature));
}

/// Each key is good for one algorithm, whatever the token says: a public key is no secret.
#[test]
fn a_token_of_one_algorithm_is_not_verified_by_a_key_of_another() {
    let claims = claims().to_string();
    for signer in all() {
        for other in all() {
            let token = signer.token(&json!({ "alg": other.alg(), "kid": "a" }), &claims);
            let refused = read(&token, &rules(), &keys(&[(&signer, "a")]), NOW);
            let expected = if signer.alg() == other.alg() { None } else { Some(TokenRefusal::Key) };
            assert_eq!(refused.err(), expected, "{} as {}", signer.alg(), other.alg());
        }
    }
    // The texts of a public key, as HMAC secrets.
    let pair = ed25519(1);
    let Signer::EdDsa(ed) = &pair else { panic!() };
    for secret in [RSA_PUBLIC.as_bytes(), ed.public_key().as_ref(), pair.jwk("a").to_string().as_bytes()] {
        let forged = Signer::Hs256(secret.to_vec()).token(&json!({ "alg": "HS256", "kid": "a" }), &claims);
        for keys in [keys(&[(&pair, "a")]), keys_in(RSA_PUBLIC).unwrap()] {
            assert_eq!(read(&forged, &rules(), &keys, NOW), Err(TokenRefusal::Key));
        }
    }
    // An algorithm that was not named for the issuer, and ones that nobody named ever.
    let only_rsa = Rules { algorithms: vec![Algorithm::Rs256], ..rules() };
    let token = pair.token(&json!({ "alg": "EdDSA", "kid": "a" }), &claims);
    assert_eq!(read(&token, &only_rsa, &keys(&[(&pair, "a")]), NOW), Err(TokenRefusal::Algorithm));
    for alg in ["HS384", "HS512", "RS384", "PS256", "ES384", "ES256K", "Ed448", "eddsa", "EDDSA", "RSA-OAEP", "dir"] {
        let token = pair.token(&json!({ "alg": alg, "kid": "a" }), &claims);
        assert_eq!(read(&token, &rules(), &keys(&[(&pair, "a")]), NOW), Err(TokenRefusal::Algorithm), "{alg}");
    }
}

#[test]
fn an_unknown_key_id_is_refused() {
    let (one, other) = (ed25519(1), ed25519(2));
    let keys = keys(&[(&one, "a"), (&other, "b")]);
    let by = |signer: &Signer, kid: Value| {
        read(&signer.token(&json!({ "alg": "EdDSA", "kid": kid }), &claims().to_string()), &rules(), &keys, NOW).err()
    };
    assert_eq!((by(&one, json!("a")), by(&other, json!("b"))), (None, None));
    assert_eq!((by(&one, json!(null)), by(&other, json!(null))), (None, None), "without a name, all are tried");
    assert_eq!(by(&one, json!("b")), Some(TokenRefusal::Signature), "the other's name");
    for kid in [json!("c"), json!(""), json!("../../dev/null"), json!("a' OR '1'='1")] {
        assert_eq!(by(&one, kid), Some(TokenRefusal::Key));
    }
    assert_eq!(by(&one, json!(7)), Some(TokenRefusal::Malformed));
    assert_eq!(by(&ed25519(3), json!("a")), Some(TokenRefusal::Signature), "a stranger");
    // A token that brings its own key.
    let head = json!({ "alg": "EdDSA", "jwk": ed25519(3).jwk("a"), "jku": "https://evil.example", "kid": "a" });
    let token = ed25519(3).token(&head, &claims().to_string());
    assert_eq!(read(&token, &rules(), &keys, NOW), Err(TokenRefusal::Signature));
}

#[test]
fn another_issuer_or_audience_is_refused() {
    for issuer in
        [json!("https://sso.example/"), json!("https://evil.example"), json!(["https://sso.example"]), json!(null)]
    {
        assert_eq!(of_claims(&with("iss", issuer.clone()), &rules()), Err(TokenRefusal::Issuer), "{issuer}");
    }
    for audience in
        [json!("Chat"), json!("chat2"), json!([]), json!(["a", ["chat"]]), json!({ "chat": 1 }), json!(null)]
    {
        assert_eq!(of_claims(&with("aud", audience.clone()), &rules()), Err(TokenRefusal::Audience), "{audience}");
    }
    assert!(of_claims(&with("aud", json!(["mail", "chat"])), &rules()).is_ok());
    assert_eq!(of_claims(&without("iss"), &rules()), Err(TokenRefusal::Issuer));
    assert_eq!(of_claims(&without("aud"), &rules()), Err(TokenRefusal::Audience));
}

#[test]
fn exp_and_nbf_are_judged_with_the_leeway_and_no_more() {
    let now = NOW.0 / 1000;
    let outcome = |name: &str, value: Value| of_claims(&with(name, value), &rules()).err();
    for (exp, refused) in [(now - 29, false), (now - 30, true), (now - 31, true), (0, true), (u64::MAX, false)] {
        assert_eq!(outcome("exp", json!(exp)), refused.then_some(TokenRefusal::Expired), "{exp}");
    }
    assert_eq!(outcome("exp", json!(now as f64 + 0.5)), None);
    for exp in [json!(null), json!("9999999999"), json!(-1), json!(1e300), json!([now + 60]), json!(true)] {
        assert_eq!(outcome("exp", exp.clone()), Some(TokenRefusal::Expired), "{exp}");
    }
    assert_eq!(of_claims(&without("exp"), &rules()), Err(TokenRefusal::Expired), "none that lasts forever");
    for (nbf, refused) in [(now, false), (now + 30, false), (now + 31, true), (u64::MAX, true)] {
        assert_eq!(outcome("nbf", json!(nbf)), refused.then_some(TokenRefusal::NotYet), "{nbf}");
    }
    for nbf in [json!("0"), json!(null), json!(-1)] {
        assert_eq!(outcome("nbf", nbf.clone()), Some(TokenRefusal::NotYet), "{nbf}");
    }
    let strict = Rules { leeway: 0, ..rules() };
    assert_eq!(of_claims(&with("exp", json!(now)), &strict), Err(TokenRefusal::Expired));
    assert!(of_claims(&with("exp", json!(now + 1)), &strict).is_ok());
}

#[test]
fn a_token_that_does_not_say_who_its_user_is_is_refused() {
    for name in ["sub", "name", "role"] {
        assert_eq!(of_claims(&without(name), &rules()), Err(TokenRefusal::User), "{name}");
        let long = "x".repeat(257);
        for value in [json!(null), json!(""), json!([]), json!({}), json!(true), json!(1.5), json!(long)] {
            assert_eq!(of_claims(&with(name, value.clone()), &rules()), Err(TokenRefusal::User), "{name} {value}");
        }
    }
    let guests = Rules { default_role: Some("guest".to_owned()), ..rules() };
    assert_eq!(of_claims(&without("role"), &guests).unwrap().user.role, "guest");
    assert_eq!(of_claims(&with("role", json!(["admin"])), &guests), Err(TokenRefusal::User), "a role must be a string");
}

#[test]
fn ids_are_the_issuers_own_if_that_is_wanted() {
    let prefixed = Rules { id_prefix: "sso:".to_owned(), ..rules() };
    for (id, plain, own) in [
        (json!(3), UserId::Number(3), "sso:3"),
        (json!("3"), UserId::Text("3".to_owned()), "sso:3"),
        (json!("jane"), UserId::Text("jane".to_owned()), "sso:jane"),
    ] {
        assert_eq!(of_claims(&with("sub", id.clone()), &rules()).unwrap().user.id, plain);
        assert_eq!(of_claims(&with("sub", id), &prefixed).unwrap().user.id, UserId::Text(own.to_owned()));
    }
    let mut names = rules();
    names.names = ClaimNames { id: "uid".to_owned(), name: "sub".to_owned(), role: "https://example/role".to_owned() };
    let mut claims = claims();
    claims["uid"] = json!(7);
    claims["https://example/role"] = json!("admin");
    let said = of_claims(&claims.to_string(), &names).unwrap().user;
    assert_eq!((said.id, said.name.as_str(), said.role.as_str()), (UserId::Number(7), "jane@example", "admin"));
}

/// An access token of the same issuer is no login, nor is one of our own keys, if the issuer says
/// what a login is called.
#[test]
fn a_token_of_another_type_is_refused() {
    let signer = ed25519(1);
    let keys = keys(&[(&signer, "a")]);
    let of = |typ: Value, kind: Option<&str>| {
        let token = signer.token(&json!({ "alg": "EdDSA", "typ": typ }), &claims().to_string());
        read(&token, &Rules { kind: kind.map(str::to_owned), ..rules() }, &keys, NOW).err()
    };
    for typ in [json!("JWT"), json!("jwt"), json!("application/JWT"), json!(null)] {
        assert_eq!(of(typ.clone(), None), None, "{typ}");
        assert_eq!(of(typ.clone(), Some("login+jwt")), Some(TokenRefusal::Type), "{typ}");
    }
    for typ in [json!("at+jwt"), json!("relogin+jwt"), json!("JWE"), json!("")] {
        assert_eq!(of(typ.clone(), None), Some(TokenRefusal::Type), "{typ}");
    }
    assert_eq!(of(json!("AT+jwt"), Some("application/at+JWT")), None);
}

#[test]
fn malformed_tokens_are_refused() {
    let signer = ed25519(1);
    let keys = keys(&[(&signer, "a")]);
    let head = json!({ "alg": "EdDSA" });
    let good = signer.token(&head, &claims().to_string());
    let outcome = |text: &str| read(text, &rules(), &keys, NOW).err();
    assert_eq!(outcome(&good), None);
    for length in 0..good.len() {
        assert!(outcome(&good[..length]).is_some(), "{length} characters");
    }
    for at in 0..good.len() {
        let mut other = good.clone().into_bytes();
        other[at] = if other[at] == b'A' { b'B' } else { b'A' };
        assert!(outcome(std::str::from_utf8(&other).unwrap()).is_some(), "character {at}");
    }
    let [h, p, s]: [&str; 3] = good.split('.').collect::<Vec<_>>().try_into().unwrap();
    for text in [
        format!("{h}=.{p}.{s}"),
        format!("{h}.{p}=.{s}"),
        format!("{h}.{p}.{s}="),
        format!("{h}.{p}.{s}.{s}"),
        format!("{good}."),
        format!(" {good}"),
        format!("{good}\n"),
        format!("{h}.{p}"),
        format!("{h}.{p}.{s}.{s}.{s}"),
        "..".to_owned(),
        "é.é.é".to_owned(),
        String::new(),
    ] {
        assert!(outcome(&text).is_some(), "{text}");
    }
    for head in [
        r#"{"alg":"EdDSA","alg":"EdDSA"}"#,
        r#"{"alg":"none","alg":"EdDSA"}"#,
        r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
        r#"{"alg":"EdDSA","crit":[]}"#,
        r#"{"alg":["EdDSA"]}"#,
        r#"["EdDSA","JWT",null,null]"#,
        r#"{"typ":"JWT"}"#,
        "null",
        "[]",
        "",
    ] {
        assert_eq!(outcome(&signer.signed(head, &claims().to_string())), Some(TokenRefusal::Malformed), "{head}");
    }
    let twice = claims().to_string().replacen('{', r#"{"role":"admin","#, 1);
    for claims in [twice.as_str(), r#"{"iss":1,"iss":2}"#, "null", "[]", "7", "", "{", "\"x\""] {
        assert_eq!(outcome(&signer.signed(r#"{"alg":"EdDSA"}"#, claims)), Some(TokenRefusal::Claims), "{claims}");
    }
}

#[test]
fn a_token_that_is_too_long_is_not_looked_at() {
    let signer = ed25519(1);
    let keys = keys(&[(&signer, "a")]);
    let token = |length: usize| signer.token(&json!({ "alg": "EdDSA" }), &with("more", json!("x".repeat(length))));
    assert!(token(5_000).len() < MAX_LEN && read(&token(5_000), &rules(), &keys, NOW).is_ok());
    assert_eq!(read(&token(6_500), &rules(), &keys, NOW), Err(TokenRefusal::TooLong));
}

#[test]
fn only_what_the_issuer_has_not_signed_counts_as_a_failed_login() {
    use TokenRefusal::{
        Algorithm, Audience, Claims, Expired, Issuer, Key, Malformed, NotYet, Signature, TooLong, Type, User,
    };
    for guess in [TooLong, Malformed, Type, Algorithm, Key, Signature] {
        assert!(!guess.is_of_a_genuine_token(), "{guess}");
    }
    for honest in [Claims, Issuer, Audience, Expired, NotYet, User] {
        assert!(honest.is_of_a_genuine_token(), "{honest}");
    }
}

/// A folder with an issuers file and the keys of two issuers.
pub(crate) fn folder(more: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    write(folder.path(), "sso.json", &json!({ "keys": [ed25519(1).jwk("a")] }).to_string());
    write(folder.path(), "partner.secret", &STANDARD.encode(SECRET));
    let text = format!(
        r#"
        [[issuer]]
        name = "sso"
        issuer = "https://sso.example"
        audience = "chat"
        algorithms = ["EdDSA"]
        keys = "sso.json"
        cookie = "sso_token"
        {more}

        [[issuer]]
        name = "partner"
        issuer = "https://partner.example"
        audience = "chat"
        algorithms = ["HS256"]
        keys = "partner.secret"
        authorization = true
        end-with-token = true
        id-prefix = "partner:"
        leeway = "0s"
        "#
    );
    write(folder.path(), "issuers.toml", &text);
    folder
}

fn write(folder: &Path, name: &str, text: &str) {
    fs::write(folder.join(name), text).unwrap();
    fs::set_permissions(folder.join(name), fs::Permissions::from_mode(0o600)).unwrap();
}

/// A token of the first issuer of [`folder`], which expires this many seconds after `now`.
pub(crate) fn sso_token(sub: &str, now: Timestamp, expires_in: u64) -> String {
    let mut claims = claims();
    (claims["sub"], claims["exp"]) = (json!(sub), json!(now.0 / 1000 + expires_in));
    ed25519(1).token(&json!({ "alg": "EdDSA", "kid": "a" }), &claims.to_string())
}

/// And one of the second.
pub(crate) fn partner_token(sub: &str, now: Timestamp, expires_in: u64) -> String {
    let mut claims = claims();
    (claims["iss"], claims["sub"]) = (json!("https://partner.example"), json!(sub));
    claims["exp"] = json!(now.0 / 1000 + expires_in);
    Signer::Hs256(SECRET.into()).token(&json!({ "alg": "HS256" }), &claims.to_string())
}

pub(crate) fn headers(pairs: &[(&str, &str)]) -> Headers {
    let mut headers = Headers::new();
    for (name, value) in pairs {
        headers.entry((*name).to_owned()).or_default().push((*value).to_owned());
    }
    headers
}

#[test]
fn a_token_is_looked_for_where_its_issuer_puts_it() {
    let folder = folder("");
    let issuers = load(&folder.path().join("issuers.toml")).unwrap();
    let (sso, partner) = (sso_token("jane", NOW, 60), partner_token("john", NOW, 60));
    let admit = |pairs: &[(&str, &str)], may_use_cookies| issuers.admit(&headers(pairs), may_use_cookies, NOW);
    let cookie = format!("a=b; sso_token={sso}");
    let bearer = admit(&[("Cookie", &cookie)], true).unwrap().unwrap();
    assert_eq!((bearer.user.id, bearer.vouched.until), (UserId::Text("jane".to_owned()), None));
    assert_eq!(bearer.vouched.claims.issuer, "sso");
    assert_eq!(admit(&[("Cookie", &cookie)], false), Ok(None), "a page of another origin");
    let authorization = format!("bearer {partner}");
    let bearer = admit(&[("Authorization", &authorization)], false).unwrap().unwrap();
    assert_eq!(bearer.user.id, UserId::Text("partner:john".to_owned()));
    assert_eq!(bearer.vouched.until, Some(Timestamp(NOW.0 + 60_000)), "no leeway, and the session ends with it");
    assert_eq!(admit(&[], true), Ok(None));
    // Each issuer's word counts from its own place alone, and nobody can say which of two headers
    // is meant.
    assert_eq!(admit(&[("Authorization", &format!("Bearer {sso}"))], true), Err(TokenRefusal::Algorithm));
    assert_eq!(admit(&[("Cookie", &format!("sso_token={partner}"))], true), Err(TokenRefusal::Algorithm));
    assert_eq!(admit(&[("Authorization", &authorization), ("Authorization", &authorization)], true), Ok(None));
    assert_eq!(admit(&[("Authorization", &format!("Basic {partner}"))], true), Ok(None));
    let two = format!("sso_token={sso}; sso_token=other");
    assert_eq!(admit(&[("Cookie", &two)], true), Ok(None));
    // Of two refusals, that of the token which came further.
    let expired = format!("sso_token={}", sso_token("jane", Timestamp(0), 1));
    assert_eq!(admit(&[("Cookie", &expired), ("Authorization", "Bearer x.y.z")], true), Err(TokenRefusal::Expired));
}

#[test]
fn other_issuers_are_taken_up_when_they_are_read_again_and_a_bad_file_changes_nothing() {
    let folder = folder("");
    let path = folder.path().join("issuers.toml");
    let issuers = load(&path).unwrap();
    let is_in =
        |token: &str| issuers.admit(&headers(&[("Authorization", &format!("Bearer {token}"))]), true, NOW).is_ok();
    let partner = partner_token("john", NOW, 60);
    assert!(is_in(&partner));
    let before = fs::read_to_string(&path).unwrap();
    write(folder.path(), "issuers.toml", "[[issuer]]\nname = 5\n");
    assert!(issuers.reload().is_err() && is_in(&partner));
    write(folder.path(), "issuers.toml", &before.replace("authorization = true", "cookie = \"partner_token\""));
    assert_eq!(issuers.reload().unwrap(), 2);
    assert!(issuers.admit(&headers(&[("Authorization", &format!("Bearer {partner}"))]), true, NOW).unwrap().is_none());
    assert!(issuers.admit(&headers(&[("Cookie", &format!("partner_token={partner}"))]), true, NOW).unwrap().is_some());
}

#[test]
fn other_keys_are_taken_up_and_unusable_ones_change_nothing() {
    let folder = folder("");
    let issuers = load(&folder.path().join("issuers.toml")).unwrap();
    let is_in = |signer: &Signer, kid: &str| {
        let token = signer.token(&json!({ "alg": "EdDSA", "kid": kid }), &claims().to_string());
        issuers.admit(&headers(&[("Cookie", &format!("sso_token={token}"))]), true, NOW).is_ok()
    };
    assert!(is_in(&ed25519(1), "a") && !is_in(&ed25519(2), "b"));
    let set = |keys: Value| {
        write(folder.path(), "sso.json", &keys.to_string());
        issuers.look(Instant::now());
    };
    set(json!({ "keys": [ed25519(1).jwk("a"), ed25519(2).jwk("b")] }));
    assert!(is_in(&ed25519(1), "a") && is_in(&ed25519(2), "b"));
    for damaged in
        [json!({ "keys": [] }), json!({ "keys": [{ "kty": "OKP" }] }), json!([]), json!({ "keys": [rsa().jwk("b")] })]
    {
        set(damaged);
        assert!(is_in(&ed25519(1), "a") && is_in(&ed25519(2), "b"));
    }
    fs::remove_file(folder.path().join("sso.json")).unwrap();
    issuers.look(Instant::now());
    assert!(is_in(&ed25519(2), "b"));
    set(json!({ "keys": [ed25519(2).jwk("b")] }));
    issuers.look(Instant::now() + keys::AGREEMENT);
    assert!(!is_in(&ed25519(1), "a") && is_in(&ed25519(2), "b"), "what was taken away opens nothing any more");
}
/// A key file that arrives in pieces, each of which has a key or two.
#[test]
fn a_key_that_is_missing_for_a_moment_opens_as_ever_and_a_new_one_at_once() {
    let folder = folder("");
    let set = |keys: &[u8]| {
        let keys: Vec<_> = keys.iter().map(|&key| ed25519(key).jwk(&key.to_string())).collect();
        write(folder.path(), "sso.json", &json!({ "keys": keys }).to_string());
    };
    set(&[1, 2]);
    let issuers = load(&folder.path().join("issuers.toml")).unwrap();
    let who_is_in = || {
        let is_in = |&key: &u8| {
            let token = ed25519(key).token(&json!({ "alg": "EdDSA", "kid": key.to_string() }), &claims().to_string());
            issuers.admit(&headers(&[("Cookie", &format!("sso_token={token}"))]), true, NOW).is_ok()
        };
        (1..=4).filter(is_in).collect::<Vec<_>>()
    };
    let begin = Instant::now();
    // Every four seconds another piece, looked at each second.
    let pieces: [&[u8]; 4] = [&[3], &[3, 4], &[3], &[3, 2]];
    for (second, keys) in (0..).step_by(4).zip(pieces) {
        set(keys);
        for second in second..second + 4 {
            issuers.look(begin + Duration::from_secs(second));
            let there = who_is_in();
            assert!([1, 2].iter().chain(keys).all(|key| there.contains(key)), "{second} s: {there:?}");
        }
    }
    issuers.look(begin + Duration::from_secs(17));
    assert_eq!(who_is_in(), [2, 3]);
    fs::remove_file(folder.path().join("sso.json")).unwrap();
    for second in 18..30 {
        issuers.look(begin + Duration::from_secs(second));
    }
    assert_eq!(who_is_in(), [2, 3]);
}

#[test]
fn key_files_of_all_forms_are_read() {
    for (text, expected) in [
        (RSA_PUBLIC.to_owned(), vec![Algorithm::Rs256]),
        (include_str!("../../tests/issuers/p256.pub.pem").to_owned(), vec![Algorithm::Es256]),
        (include_str!("../../tests/issuers/ed25519.pub.pem").to_owned(), vec![Algorithm::EdDsa]),
        (ed25519(1).jwk("a").to_string(), vec![Algorithm::EdDsa]),
        (format!("# ours\n{}\n{}\n", "ab".repeat(32), STANDARD.encode(SECRET)), vec![Algorithm::Hs256; 2]),
    ] {
        let found: Vec<_> = keys_in(&text).unwrap().iter().map(Key::algorithm).collect();
        assert_eq!(found, expected, "{text}");
    }
    let usage = |member: &str, value: &str| {
        let mut jwk = ed25519(1).jwk("a");
        jwk[member] = json!(value);
        keys_in(&json!({ "keys": [jwk] }).to_string()).unwrap().len()
    };
    assert_eq!(
        (usage("use", "sig"), usage("use", "enc"), usage("alg", "ES256"), usage("alg", "Ed25519")),
        (1, 0, 0, 1)
    );
    assert_eq!((usage("x", "AAAA"), usage("crv", "Ed448"), usage("kty", "EC")), (0, 0, 0));
    for text in
        ["", "c2hvcnQ=", "not a key", "-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n", "{}", "[]"]
            .into_iter()
            .chain([format!("[[{}]]", ed25519(1).jwk("a")).as_str()])
    {
        assert!(keys_in(text).is_none_or(|keys| keys.is_empty()), "{text}");
    }
}

#[test]
fn an_unusable_issuers_file_is_refused_with_a_reason() {
    let refused = |from: &str, to: &str| {
        let folder = folder("");
        let path = folder.path().join("issuers.toml");
        let text = fs::read_to_string(&path).unwrap();
        assert!(text.contains(from), "{from}");
        write(folder.path(), "issuers.toml", &text.replacen(from, to, 1));
        relogin_host::errors::Chain(&load(&path).unwrap_err()).to_string()
    };
    for (from, to, expected) in [
        ("name = \"sso\"", "name = \"partner\"", "two issuers are named \"partner\""),
        ("audience = \"chat\"", "audience = \"\"", "issuer \"sso\": audience must have"),
        ("audience = \"chat\"", "", "missing field `audience`"),
        ("[\"EdDSA\"]", "[\"none\"]", "unknown algorithm \"none\""),
        ("[\"EdDSA\"]", "[\"HS512\"]", "unknown algorithm \"HS512\""),
        ("[\"EdDSA\"]", "[]", "algorithms is empty"),
        ("[\"EdDSA\"]", "[\"ES256\"]", "has no key for the configured algorithms"),
        ("cookie = \"sso_token\"", "", "names no source of tokens"),
        ("leeway = \"0s\"", "leeway = \"1h\"", "leeway is not a duration of at most 5 minutes"),
        ("sso.json", "none.json", "cannot read"),
        ("cookie =", "cookies =", "unknown field `cookies`"),
    ] {
        let error = refused(from, to);
        assert!(error.contains(expected), "{error}");
    }
    let folder = folder("");
    let path = folder.path().join("issuers.toml");
    fs::set_permissions(folder.path().join("partner.secret"), fs::Permissions::from_mode(0o644)).unwrap();
    assert!(relogin_host::errors::Chain(&load(&path).unwrap_err()).to_string().contains("mode 644"));
    write(folder.path(), "sso.json", RSA);
    assert!(relogin_host::errors::Chain(&load(&path).unwrap_err()).to_string().contains("private key"));
    assert!(load(&folder.path().join("nowhere")).is_err());
    let shown = format!("{:?}", load(&self::folder("").path().join("issuers.toml")).unwrap());
    assert!(!shown.contains("BQUF") && !shown.contains("5, 5, 5"), "{shown}");
}
