/** The scripted migrations do what their help says, to machines of molt. */
import { scriptScenarios } from "../support/script_scenarios.ts";

scriptScenarios("molt");
