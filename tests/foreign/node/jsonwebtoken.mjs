// Tokens made by jsonwebtoken, one for each algorithm that it and Postern share (it has no EdDSA).
import jwt from 'jsonwebtoken';
import { claims, key, kid, print } from './scheme.mjs';

const shared = 'HS256 HS384 HS512 RS256 RS384 RS512 PS256 PS384 PS512 ES256 ES384'.split(' ');
await print(shared, (algorithm) =>
  jwt.sign(claims('jsonwebtoken', algorithm), key(algorithm), { algorithm, keyid: kid(algorithm) }));
