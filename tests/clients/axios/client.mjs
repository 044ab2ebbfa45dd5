// What a single-page application does with its tokens: an axios interceptor that answers 401 with
// one refresh, whatever number of requests it hits, and sends them again.
//
// Environment: BASE (https://…), ACCOUNT, PASSWORD. Speaks lines with whoever started it: says
// `token <jti>` and waits for a line before it goes on, so that the token can be revoked meanwhile.
// The last line is `done` and a JSON object of what was seen.
import axios, { isAxiosError } from "axios";
import { createInterface } from "node:readline";

const { BASE, ACCOUNT, PASSWORD } = process.env;
const OWN = "/_postern";
const lines = createInterface({ input: process.stdin })[Symbol.asyncIterator]();

const say = (text) => process.stdout.write(`${text}\n`);
const jti = (token) => JSON.parse(Buffer.from(token.split(".")[1], "base64url")).jti;

class Session {
  constructor(refreshToken, accessToken) {
    this.refreshToken = refreshToken;
    this.accessToken = accessToken;
    this.refreshes = 0;
    this.underWay = null;
    this.http = axios.create({ baseURL: BASE });
    this.http.interceptors.request.use((request) => {
      request.headers.Authorization = `Bearer ${this.accessToken}`;
      return request;
    });
    this.http.interceptors.response.use(undefined, (error) => this.again(error));
  }

  static async logIn(username, password) {
    const { data } = await axios.post(`${BASE}${OWN}/login`, { username, password });
    return new Session(data.refresh_token, data.access_token);
  }

  async again(error) {
    const { config, response } = error;
    if (response?.status !== 401 || config.isRetry) throw error;
    // Answers come in any order: one may be of the token before the refresh that is over.
    if (config.headers.Authorization === `Bearer ${this.accessToken}`) {
      this.underWay ??= this.refresh().finally(() => (this.underWay = null));
      await this.underWay;
    }
    return this.http.request({ ...config, isRetry: true });
  }

  async refresh() {
    const body = { refresh_token: this.refreshToken };
    const { data } = await axios.post(`${BASE}${OWN}/refresh`, body);
    this.refreshes += 1;
    [this.refreshToken, this.accessToken] = [data.refresh_token, data.access_token];
  }
}

const statusOf = async (promise) => {
  try {
    return (await promise).status;
  } catch (error) {
    if (isAxiosError(error) && error.response) return error.response.status;
    throw error;
  }
};
const revoked = async (session) => {
  say(`token ${jti(session.accessToken)}`);
  await lines.next();
};

const seen = { wrong: await statusOf(axios.post(`${BASE}${OWN}/login`, { username: ACCOUNT, password: "wrong" })) };
const session = await Session.logIn(ACCOUNT, PASSWORD);
seen.first = await statusOf(session.http.get("/api/items"));
await revoked(session);
const posts = Array.from({ length: 10 }, (_, n) => session.http.post("/api/items", { name: `n${n}` }));
seen.posts = (await Promise.all(posts)).map((answer) => answer.status);
seen.echoed = (await Promise.all(posts)).map((answer) => answer.data.name);
seen.refreshes = session.refreshes;

// Two tabs share what is stored and know nothing of each other.
const tabs = [1, 2].map(() => new Session(session.refreshToken, session.accessToken));
await revoked(session);
seen.tabs = await Promise.all(tabs.map((tab) => statusOf(tab.http.get("/api/items"))));
seen.tabsAgree = tabs[0].refreshToken === tabs[1].refreshToken;

const [tab] = tabs;
seen.logout = await statusOf(tab.http.post(`${OWN}/logout`));
seen.after = await statusOf(tab.http.get("/api/items"));
say(`done ${JSON.stringify(seen)}`);
process.exit(0);
