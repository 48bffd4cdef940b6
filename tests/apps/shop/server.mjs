// A shop on Express: sessions in signed cookies, form tokens by csurf, orders with UUIDs in PostgreSQL.
import { randomUUID } from "node:crypto";
import csurf from "csurf";
import express from "express";
import session from "express-session";
import pg from "pg";

const [port, host, databasePort, database] = process.argv.slice(2);
const db = new pg.Pool({ host, port: Number(databasePort), database, user: "postgres" });
await db.query("create table if not exists orders (id text primary key, owner text, product int, quantity int, paid int)");
const app = express();
app.use(session({ secret: "for-the-loopback-only", resave: false, saveUninitialized: true }));
app.use(express.urlencoded({ extended: false }), express.json());
app.use(csurf());
const page = (request, body) =>
  `<!doctype html><meta name="csrf-token" content="${request.csrfToken()}"><h1>Shop</h1>${body}`;
const form = (request, action, fields) =>
  `<form method="post" action="${action}"><input type="hidden" name="_csrf" value="${request.csrfToken()}">${fields}</form>`;

app.get("/", (request, response) => {
  response.send(page(request, [1, 2, 3].map((n) => `<a href="/product/${n}">Product ${n}</a>`).join("")));
});
app.get("/product/:n", (request, response) => {
  response.send(page(request, form(request, "/cart", `<input name="product" value="${request.params.n}">`)));
});
app.post("/cart", async (request, response) => {
  const order = { id: randomUUID(), product: request.body.product, quantity: request.body.quantity };
  const values = [order.id, request.sessionID, order.product, order.quantity];
  await db.query("insert into orders values ($1, $2, $3, $4, 0)", values);
  response.redirect(303, `/orders/${order.id}`);
});
const own = async (request, response, next) => {
  const found = await db.query("select * from orders where id = $1 and owner = $2", [request.params.id, request.sessionID]);
  const order = found.rows[0];
  if (!order) return response.status(404).send("no such order of yours");
  request.order = order;
  next();
};
app.get("/orders/:id", own, (request, response) => {
  response.send(page(request, form(request, `/orders/${request.order.id}/pay`, "<button>Pay</button>")));
});
app.post("/orders/:id/pay", own, async (request, response) => {
  await db.query("update orders set paid = 1 where id = $1", [request.order.id]);
  response.redirect(303, `/orders/${request.order.id}`);
});
app.get("/api/orders/:id", own, (request, response) => response.json(request.order));
app.put("/api/orders/:id", own, async (request, response) => {
  await db.query("update orders set quantity = $2 where id = $1", [request.order.id, request.body.quantity]);
  response.json({ ok: true });
});
app.listen(Number(port), "127.0.0.1");
