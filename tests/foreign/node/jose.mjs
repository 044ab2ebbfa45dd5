// Tokens made by jose, one for each algorithm that it and Postern share.
import { SignJWT, importPKCS8 } from 'jose';
import { claims, key, kid, print } from './scheme.mjs';

const shared =
  'HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384 EdDSA'.split(' ');
await print(shared, async (alg) => {
  const material = alg.startsWith('HS') ? key(alg) : await importPKCS8(key(alg), alg);
  const token = new SignJWT(claims('jose', alg));
  return token.setProtectedHeader({ alg, typ: 'at+jwt', kid: kid(alg) }).sign(material);
});
