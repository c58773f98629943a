// The peer of the list benchmark: the statement in STATEMENT with PARAMS, over a pool of
// prepared connections, as JSON.  One process of a cluster of PROCESSES a port.
import cluster from "node:cluster";
import Fastify from "fastify";
import pg from "pg";

if (cluster.isPrimary) {
  for (let i = 0; i < Number(process.env.PROCESSES); i++) cluster.fork();
} else {
  const pool = new pg.Pool({ connectionString: process.env.DATABASE, max: 4 });
  pool.on("connect", (client) => client.query("set search_path = gpupool"));
  const query = { name: "list", text: process.env.STATEMENT, values: JSON.parse(process.env.PARAMS) };
  const app = Fastify();
  app.get("/list", async () => ({ notebooks: (await pool.query(query)).rows }));
  await app.listen({ host: "127.0.0.1", port: Number(process.env.PORT) });
}
