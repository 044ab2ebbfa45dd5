// The key sets: `public` for signatures, `secret` for the HMAC fixtures (throw-away, test only).
import { exportJWK, importSPKI } from 'jose';
import { key, kid } from './scheme.mjs';

const sets = {
  public: 'RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA'.split(' '),
  secret: 'HS256 HS384 HS512'.split(' '),
};
const keys = [];
for (const alg of sets[process.argv[2]]) {
  const jwk = alg.startsWith('HS')
    ? { kty: 'oct', k: key(alg).toString('base64url') }
    : await exportJWK(await importSPKI(key(alg, 'pub'), alg, { extractable: true }));
  keys.push({ ...jwk, kid: kid(alg), alg, use: 'sig' });
}
console.log(JSON.stringify({ keys }, null, 2));
