module.exports = require("../schema")(4);
