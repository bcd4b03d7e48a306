// A certified OpenID provider (oidc-provider by Filip Skokan) for tests. It listens on the loopback, signs everybody in
// at once as whom `login_hint` names, with the strength that `acr_values` asks for, and knows no secret but what it is
// given: one line of JSON on standard input, {clients, people, lifetime}. It says where it is on standard output, and
// ends when standard input does.

import { generateKeyPairSync } from 'node:crypto';
import { createServer } from 'node:http';
import { createInterface } from 'node:readline';
import Provider from 'oidc-provider';

const lines = createInterface({ input: process.stdin });
lines.on('close', () => process.exit(0));
const { clients, people, lifetime } = JSON.parse(await new Promise((resolve) => lines.once('line', resolve)));
const { privateKey } = generateKeyPairSync('ec', { namedCurve: 'P-256' });

const listener = createServer();
await new Promise((resolve) => listener.listen(0, '127.0.0.1', resolve));
const issuer = `http://127.0.0.1:${listener.address().port}`;

const provider = new Provider(issuer, {
  clients,
  clientDefaults: { id_token_signed_response_alg: 'ES256' },
  acrValues: ['pwd', 'phr'],
  jwks: { keys: [{ ...privateKey.export({ format: 'jwk' }), alg: 'ES256', use: 'sig', kid: 'es256' }] },
  cookies: { keys: [crypto.randomUUID()] },
  scopes: ['openid', 'offline_access'],
  findAccount: (_ctx, id) => (id in people ? { accountId: id, claims: () => ({ sub: id }) } : undefined),
  interactions: { url: (_ctx, interaction) => `/interaction/${interaction.uid}` },
  issueRefreshToken: (_ctx, client) => client.grantTypeAllowed('refresh_token'),
  // What RFC 9470 section 6 puts into access tokens and introspection answers, and what the policy needs.
  extraTokenClaims: (ctx, token) => {
    const code = ctx.oidc.entities.AuthorizationCode;
    const signedIn = code ? { acr: code.acr, auth_time: code.authTime } : {};
    return { ...signedIn, ...people[token.accountId] };
  },
  features: {
    devInteractions: { enabled: false },
    clientCredentials: { enabled: true },
    introspection: { enabled: true },
    revocation: { enabled: true },
    resourceIndicators: {
      enabled: true,
      useGrantedResource: () => true,
      getResourceServerInfo: (_ctx, resource) => ({
        audience: resource,
        scope: 'transfers:read transfers:write',
        accessTokenTTL: lifetime,
        accessTokenFormat: resource.endsWith('/opaque') ? 'opaque' : 'jwt',
        jwt: { sign: { alg: 'ES256' } },
      }),
    },
  },
});

async function signIn(request, response) {
  const { params, grantId } = await provider.interactionDetails(request, response);
  const grant = grantId
    ? await provider.Grant.find(grantId)
    : new provider.Grant({ accountId: params.login_hint, clientId: params.client_id });
  grant.addOIDCScope('openid offline_access');
  grant.addResourceScope(params.resource, params.scope);
  await provider.interactionFinished(request, response, {
    login: { accountId: params.login_hint, acr: (params.acr_values ?? 'pwd').split(' ')[0] },
    consent: { grantId: await grant.save() },
  });
}

const answer = provider.callback();
listener.on('request', (request, response) => {
  if (!request.url.startsWith('/interaction/')) return answer(request, response);
  return signIn(request, response).catch((error) => {
    response.statusCode = 500;
    response.end(String(error));
  });
});
process.stdout.write(`${JSON.stringify({ issuer })}\n`);
