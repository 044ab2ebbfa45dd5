// An OpenID provider for the tests: the oidc-provider package with memory storage, a few clients,
// and commands under /test/ that change its keys and say where the gateway takes logouts. It ends
// when its standard input ends.
//
// PORT   where to listen; 0 means any free port
// KEYS   a file for its private keys: started again with the same file, it has the same keys
import { createServer } from 'node:http';
import { generateKeyPairSync } from 'node:crypto';
import { existsSync, readFileSync, renameSync, writeFileSync } from 'node:fs';
import Provider from 'oidc-provider';

const AUDIENCE = 'https://api.test';

// What stands in the tokens, by resource (RFC 8707). The opaque kind is for introspection.
const resources = {
  [`${AUDIENCE}/`]: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'ES256' } } },
  [`${AUDIENCE}/rs256`]: { accessTokenFormat: 'jwt', jwt: { sign: { alg: 'RS256' } } },
  [`${AUDIENCE}/opaque`]: { accessTokenFormat: 'opaque' },
};

const ID_TOKEN = 'urn:test:id-token';
const clients = [
  {
    client_id: 'app',
    client_secret: 'the secret of the app',
    grant_types: ['client_credentials', ID_TOKEN],
    redirect_uris: [],
    response_types: [],
    id_token_signed_response_alg: 'ES256',
    scope: 'openid read write',
  },
  {
    client_id: 'gateway',
    client_secret: 'the secret of the gateway: 100% + "quoted"',
    grant_types: [],
    redirect_uris: [],
    response_types: [],
  },
];

// Two clients that people log in with. Logouts of the one name the session, of the other the user.
let logoutUri;
const people = (sessionRequired) => ({
  client_id: sessionRequired ? 'web' : 'web-users',
  client_secret: 'the secret of the app',
  grant_types: ['authorization_code'],
  redirect_uris: ['https://web.test/callback'],
  response_types: ['code'],
  id_token_signed_response_alg: 'ES256',
  scope: 'openid read write',
  ...(logoutUri && {
    backchannel_logout_uri: logoutUri,
    backchannel_logout_session_required: sessionRequired,
  }),
});
// What came of the logouts that were sent.
const logouts = [];

// One generation of keys: one for each algorithm. Their kids are their thumbprints.
function generation() {
  const rsa = generateKeyPairSync('rsa', { modulusLength: 2048 });
  const ec = generateKeyPairSync('ec', { namedCurve: 'P-256' });
  return [
    { ...rsa.privateKey.export({ format: 'jwk' }), alg: 'RS256', use: 'sig' },
    { ...ec.privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig' },
  ];
}

// Generations in order of precedence: the first one signs, all are published.
let generations = [generation()];
if (process.env.KEYS && existsSync(process.env.KEYS)) {
  generations = JSON.parse(readFileSync(process.env.KEYS, 'utf8'));
}

let issuer;
let answer;

function serveWith(next) {
  generations = next;
  if (process.env.KEYS) {
    writeFileSync(`${process.env.KEYS}.new`, JSON.stringify(generations), { mode: 0o600 });
    renameSync(`${process.env.KEYS}.new`, process.env.KEYS);
  }
  const provider = new Provider(issuer, {
    clients: [...clients, people(true), people(false)],
    jwks: { keys: generations.flat() },
    scopes: ['openid', 'read', 'write'],
    cookies: { keys: ['a key for the tests'] },
    // An access token has the session's id, as its ID token does: without it the end of a session
    // would end no access token.
    extraTokenClaims: (ctx, token) => (token.sid ? { sid: token.sid } : undefined),
    ttl: { ClientCredentials: 600, AccessToken: 600, IdToken: 600 },
    features: {
      devInteractions: { enabled: true },
      backchannelLogout: { enabled: true },
      clientCredentials: { enabled: true },
      introspection: { enabled: true, allowedPolicy: () => true },
      revocation: { enabled: true },
      resourceIndicators: {
        enabled: true,
        defaultResource: () => `${AUDIENCE}/`,
        getResourceServerInfo: (ctx, indicator) => {
          const known = resources[indicator];
          if (!known) throw new Error(`no resource ${indicator}`);
          return { scope: 'read write', audience: AUDIENCE, accessTokenTTL: 600, ...known };
        },
      },
    },
  });
  // What a login would leave the client with, without the login: an ID token as this provider
  // signs it.
  provider.registerGrantType(ID_TOKEN, async (ctx) => {
    const token = new provider.IdToken({ sub: 'alice' }, { ctx });
    token.scope = 'openid';
    if (ctx.oidc.params.nonce) token.set('nonce', ctx.oidc.params.nonce);
    ctx.body = { id_token: await token.issue({ use: 'idtoken' }), token_type: 'N_A' };
  }, ['nonce']);
  provider.on('backchannel.success', () => logouts.push('success'));
  provider.on('backchannel.error', (ctx, error) => logouts.push(error.message));
  answer = provider.callback();
}

// The steps of a rotation, each by itself.
const commands = {
  // A new generation is published; the old one signs.
  publish: () => [...generations, generation()],
  // The newest generation signs.
  sign: () => [generations.at(-1), ...generations.slice(0, -1)],
  // Only the one that signs is published.
  retire: () => [generations[0]],
};

async function text(req) {
  const pieces = [];
  for await (const piece of req) pieces.push(piece);
  return Buffer.concat(pieces).toString();
}

const server = createServer(async (req, res) => {
  const command = req.url.startsWith('/test/') && req.url.slice('/test/'.length);
  if (command === false) return answer(req, res);
  if (req.method === 'GET' && command === 'logouts') {
    return res.end(JSON.stringify(logouts));
  }
  if (req.method === 'POST' && command === 'logout-uri') {
    logoutUri = await text(req);
    serveWith(generations);
    res.writeHead(204);
    return res.end();
  }
  if (req.method !== 'POST' || !Object.hasOwn(commands, command)) {
    res.writeHead(404);
    return res.end();
  }
  serveWith(commands[command]());
  res.writeHead(204);
  return res.end();
});
server.listen(Number(process.env.PORT || 0), '127.0.0.1', () => {
  issuer = `http://127.0.0.1:${server.address().port}`;
  serveWith(generations);
  console.log(`listening on ${issuer}`);
});
process.stdin.resume().on('end', () => process.exit());
