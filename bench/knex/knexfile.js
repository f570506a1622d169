// The environment names the database in libpq's way, and the folder of migrations.
module.exports = {
  client: "pg",
  connection: {
    host: process.env.PGHOST,
    user: process.env.PGUSER,
    database: process.env.PGDATABASE,
  },
  migrations: { directory: process.env.KNEX_MIGRATIONS || "migrations" },
};
