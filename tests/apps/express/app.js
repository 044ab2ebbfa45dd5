// A small items API of the kind found in tutorials: a login, a list, an admin area.
// It checks no tokens.
const express = require('express');

const app = express();
app.use(express.json());
app.use(express.urlencoded({ extended: false }));

const users = [
  { id: 1, email: 'alice@example.com', password: 'wonderland', role: 'admin' },
  { id: 2, email: 'bob@example.com', password: 'builder', role: 'user' },
];
const items = [
  { id: 1, name: 'Lamp' },
  { id: 2, name: 'Chair' },
];

app.post('/api/login', (req, res) => {
  const { email, password } = req.body || {};
  const user = users.find((u) => u.email === email && u.password === password);
  if (!user) return res.status(401).json({ error: 'wrong email or password' });
  res.json({ id: user.id, email: user.email, role: user.role });
});

app.get('/api/items', (req, res) => res.json(items));

app.post('/api/items', (req, res) => {
  const item = { id: items.length + 1, name: String(req.body.name) };
  items.push(item);
  res.status(201).location(`/api/items/${item.id}`).json(item);
});

app.get('/api/items/:id', (req, res) => {
  const item = items.find((i) => i.id === Number(req.params.id));
  if (!item) return res.status(404).json({ error: 'no such item' });
  res.json(item);
});

app.get('/api/admin/users', (req, res) => {
  res.json(users.map(({ id, email, role }) => ({ id, email, role })));
});

app.delete('/api/admin/users/:id', (req, res) => {
  const index = users.findIndex((u) => u.id === Number(req.params.id));
  if (index < 0) return res.status(404).json({ error: 'no such user' });
  users.splice(index, 1);
  res.status(204).end();
});

// What arrived, for whoever is debugging a client.
app.get('/headers', (req, res) => {
  res.json({ method: req.method, url: req.originalUrl, headers: req.headers });
});

const server = app.listen(process.env.PORT || 3000, '127.0.0.1', () => {
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
