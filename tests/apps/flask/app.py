"""A small items API of the kind found in tutorials: a login, a list, an admin area.

It checks no tokens.
"""

import os

from flask import Flask, jsonify, request

app = Flask(__name__)

users = [
    {"id": 1, "email": "alice@example.com", "password": "wonderland", "role": "admin"},
    {"id": 2, "email": "bob@example.com", "password": "builder", "role": "user"},
]
items = [{"id": 1, "name": "Lamp"}, {"id": 2, "name": "Chair"}]


@app.post("/api/login")
def login():
    form = request.get_json(silent=True) or request.form
    for user in users:
        if user["email"] == form.get("email") and user["password"] == form.get("password"):
            return jsonify(id=user["id"], email=user["email"], role=user["role"])
    return jsonify(error="wrong email or password"), 401


@app.get("/api/items")
def list_items():
    return jsonify(items)


@app.post("/api/items")
def add_item():
    item = {"id": len(items) + 1, "name": str(request.get_json()["name"])}
    items.append(item)
    return jsonify(item), 201, {"Location": f"/api/items/{item['id']}"}


@app.get("/api/admin/users")
def list_users():
    return jsonify([{key: user[key] for key in ("id", "email", "role")} for user in users])


@app.delete("/api/admin/users/<int:user_id>")
def remove_user(user_id):
    for user in users:
        if user["id"] == user_id:
            users.remove(user)
            return "", 204
    return jsonify(error="no such user"), 404


@app.get("/headers")
def headers():
    """What arrived, for whoever is debugging a client."""
    lowered = {name.lower(): value for name, value in request.headers.items()}
    return jsonify(method=request.method, url=request.full_path, headers=lowered)


if __name__ == "__main__":
    app.run(host="127.0.0.1", port=int(os.environ.get("PORT", "5000")), threaded=True)
