
export{n as visitStage}from"./voice.js";