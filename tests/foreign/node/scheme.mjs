// What all programs here agree on: keys, claims, output.
import fs from 'node:fs';
import path from 'node:path';

const directory = process.env.KEYS;

export function key(algorithm, suffix = 'pem') {
  if (algorithm.startsWith('HS')) {
    return fs.readFileSync(path.join(directory, `${algorithm}.secret`));
  }
  return fs.readFileSync(path.join(directory, `${algorithm}.${suffix}`), 'utf8');
}

export const kid = (algorithm) => `foreign-${algorithm}`;

export function claims(library, algorithm) {
  return {
    iss: 'https://foreign.example',
    aud: 'https://api.example',
    sub: 'alice',
    roles: ['admin', 'reader'],
    jti: `${library}-${algorithm}`,
    iat: Math.floor(Date.now() / 1000),
    exp: 4102444800, // 2100-01-01
  };
}

export async function print(algorithms, make) {
  const tokens = [];
  for (const algorithm of algorithms) {
    tokens.push({ algorithm, kid: kid(algorithm), token: await make(algorithm) });
  }
  console.log(JSON.stringify(tokens, null, 2));
}
