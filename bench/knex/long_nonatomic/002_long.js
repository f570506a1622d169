exports.config = { transaction: false };
exports.up = (knex) => knex.raw("SELECT pg_sleep(20)");
exports.down = async () => {};
