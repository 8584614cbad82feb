// The Node tus server with its file store, as its own documentation starts it: node server.mjs PORT FOLDER
import { FileStore } from "@tus/file-store";
import { Server } from "@tus/server";

const [port, directory] = process.argv.slice(2);
const server = new Server({ path: "/files", datastore: new FileStore({ directory }), relativeLocation: true });
server.listen({ host: "127.0.0.1", port: Number(port) });
