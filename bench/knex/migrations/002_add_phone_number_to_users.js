module.exports = require("../schema")(2);
