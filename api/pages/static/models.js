import { list, problems } from "./uploads.js";

list("models", problems, "model_id");
