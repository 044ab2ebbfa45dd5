// k6 run -e URL=https://127.0.0.1:8443/api/hello k6.js, with the token in the environment variable TOKEN.
import http from "k6/http";
import { check } from "k6";

export const options = {
  scenarios: {
    steady: { executor: "constant-vus", vus: 64, duration: "30s" },
  },
  thresholds: {
    checks: ["rate==1"],
  },
};

const headers = { Authorization: `Bearer ${__ENV.TOKEN}` };

export default function () {
  const answer = http.get(__ENV.URL, { headers });
  check(answer, { "200": (r) => r.status === 200 });
}
