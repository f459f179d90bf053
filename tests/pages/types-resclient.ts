// A session on ResClient, as TypeScript sees it.
import ResClient from "resclient";
import { Session } from "relogin";

export const session = new Session(new ResClient("ws://localhost:8080"));
