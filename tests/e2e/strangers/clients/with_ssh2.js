// npm's ssh2 over the port of `kled stream --listen`: KEY PORT HOST_KEY BLOB FOLDER
"use strict";
const fs = require("fs");
const net = require("net");
const { Client } = require("ssh2");
const [key, port, hostKey, blob, folder] = process.argv.slice(2);
const pinned = Buffer.from(hostKey.split(" ")[1], "base64");
const client = new Client();

function fail(error) {
  console.error(error);
  process.exit(1);
}

function run() {
  client.exec("echo ran; exit 5", (error, stream) => {
    if (error) fail(error);
    let text = "";
    stream.on("data", (data) => (text += data));
    stream.on("close", (code) => {
      console.log(code === 5 ? "status" : "no status");
      console.log(text.trim());
      copy();
    });
  });
}

function copy() {
  client.sftp((error, sftp) => {
    if (error) fail(error);
    sftp.fastPut(blob, `${folder}/up`, (putError) => {
      if (putError) fail(putError);
      sftp.fastGet(`${folder}/up`, `${folder}/down`, (getError) => {
        if (getError) fail(getError);
        console.log("copied");
        forward();
      });
    });
  });
}

function forward() {
  const server = net.createServer((link) => link.end("forwarded"));
  server.listen(0, "127.0.0.1", () => {
    client.forwardOut("127.0.0.1", 1, "127.0.0.1", server.address().port, (error, stream) => {
      if (error) fail(error);
      let text = "";
      stream.on("data", (data) => (text += data));
      // ssh2 leaves its own half open, with every server.
      stream.on("end", () => stream.end());
      stream.on("close", () => {
        console.log(text);
        server.close();
        client.end();
      });
    });
  });
}

client.on("ready", run).on("error", fail).connect({
  host: "127.0.0.1",
  port: Number(port),
  username: "me",
  privateKey: fs.readFileSync(key),
  hostVerifier: (found) => pinned.equals(found),
});
