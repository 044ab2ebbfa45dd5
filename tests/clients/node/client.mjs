// What a program with openid-client (on oauth4webapi) does with an authorization server that it
// knows by its issuer alone. Prints one line a step; anything unexpected ends it.
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import * as jose from "jose";
import * as oauth from "oauth4webapi";
import * as oidc from "openid-client";

const { ISSUER, SECRET, OTHER_SECRET, KEY_FILE, API, USERNAME, PASSWORD } = process.env;
const server = new URL(ISSUER);
const how = { algorithm: "oauth2" };
const call = async (token) =>
  (await fetch(API, { headers: { authorization: `Bearer ${token}` } })).status;

const discovered = (id, authentication) =>
  oidc.discovery(server, id, undefined, authentication, how);

const key = await jose.importPKCS8(readFileSync(KEY_FILE, "utf8"), "ES256");
const clients = {
  client_secret_basic: await discovered("billing", oidc.ClientSecretBasic(SECRET)),
  client_secret_post: await discovered("billing", oidc.ClientSecretPost(SECRET)),
  private_key_jwt: await discovered("reports", oidc.PrivateKeyJwt({ key, kid: "reports-1" })),
};
const gatekeeper = await discovered("gatekeeper", oidc.ClientSecretBasic(OTHER_SECRET));
assert.equal(gatekeeper.serverMetadata().issuer, ISSUER);
console.log("discovery");

const jwks = jose.createRemoteJWKSet(new URL(gatekeeper.serverMetadata().jwks_uri));
for (const [method, client] of Object.entries(clients)) {
  const granted = await oidc.clientCredentialsGrant(client);
  assert.equal(granted.token_type, "bearer");
  assert.equal(granted.refresh_token, undefined);
  const options = { issuer: ISSUER, audience: "https://api.test", typ: "at+jwt" };
  const { payload } = await jose.jwtVerify(granted.access_token, jwks, options);
  assert.equal(payload.sub, `client:${payload.client_id}`);
  assert.equal(await call(granted.access_token), 200);
  const asked = await oidc.tokenIntrospection(gatekeeper, granted.access_token);
  assert.equal(asked.active, true);
  assert.equal(asked.sub, payload.sub);
  await oidc.tokenRevocation(client, granted.access_token);
  assert.deepEqual(await oidc.tokenIntrospection(gatekeeper, granted.access_token), { active: false });
  assert.equal(await call(granted.access_token), 401);
  console.log(method);
}

const narrow = await oidc.clientCredentialsGrant(clients.client_secret_basic, { scope: "orders:read" });
assert.equal(narrow.scope, "orders:read");
await assert.rejects(
  oidc.clientCredentialsGrant(clients.client_secret_basic, { scope: "admin" }),
  (error) => error.error === "invalid_scope" && error.status === 400,
);
const wrong = await discovered("billing", oidc.ClientSecretBasic(OTHER_SECRET));
await assert.rejects(oidc.clientCredentialsGrant(wrong), (error) => {
  const challenge = error.cause?.[0] ?? error.cause;
  return error.error === "invalid_client" || challenge?.scheme === "basic";
});
await assert.rejects(
  oidc.tokenIntrospection(clients.client_secret_basic, narrow.access_token),
  (error) => error.status === 403,
);
console.log("refusals");

// A login, renewed and given up by the public client, with the library below.
const login = await fetch(new URL("/_postern/login", API), {
  method: "POST",
  headers: { "content-type": "application/json" },
  body: JSON.stringify({ username: USERNAME, password: PASSWORD }),
});
assert.equal(login.status, 200);
let { refresh_token } = await login.json();
const as = await oauth.processDiscoveryResponse(
  server,
  await oauth.discoveryRequest(server, { algorithm: "oauth2" }),
);
assert.ok(as.token_endpoint_auth_methods_supported.includes("none"));
const browser = { client_id: "postern" };
const renewed = await oauth.processRefreshTokenResponse(
  as,
  browser,
  await oauth.refreshTokenGrantRequest(as, browser, oauth.None(), refresh_token),
);
assert.notEqual(renewed.refresh_token, refresh_token);
assert.equal(await call(renewed.access_token), 200);
refresh_token = renewed.refresh_token;
const hint = { token_type_hint: "refresh_token" };
assert.equal((await oidc.tokenIntrospection(gatekeeper, refresh_token, hint)).sub, USERNAME);
await oauth.processRevocationResponse(
  await oauth.revocationRequest(as, browser, oauth.None(), refresh_token),
);
assert.equal((await oidc.tokenIntrospection(gatekeeper, refresh_token, hint)).active, false);
assert.equal(await call(renewed.access_token), 401);
await assert.rejects(
  oauth
    .refreshTokenGrantRequest(as, browser, oauth.None(), refresh_token)
    .then((response) => oauth.processRefreshTokenResponse(as, browser, response)),
  (error) => error.error === "invalid_grant",
);
console.log("refresh");
