
export{t as OnStage}from"./voice.js";