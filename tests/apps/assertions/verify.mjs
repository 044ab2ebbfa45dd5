// What docs/upstream-tokens.md shows, tried: prints the claims of the assertion on standard input,
// or fails. Arguments: JWKS URL, issuer, audience, route.
import { createRemoteJWKSet, jwtVerify } from "jose";

const [JWKS, ISSUER, AUDIENCE, ROUTE] = process.argv.slice(2);

const keys = createRemoteJWKSet(new URL(JWKS));

export async function caller(assertion) {
  const { payload } = await jwtVerify(assertion, keys, {
    typ: "postern-assertion+jwt",
    algorithms: ["ES256"],
    issuer: ISSUER,
    audience: AUDIENCE,
    requiredClaims: ["sub", "exp", "route"],
    clockTolerance: 5,
  });
  if (payload.route !== ROUTE) throw new Error("made for another route");
  return payload;
}

let assertion = "";
for await (const piece of process.stdin) assertion += piece;
console.log(JSON.stringify(await caller(assertion.trim())));
