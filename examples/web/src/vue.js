import '@stentor/client/elements';
import { createApp } from 'vue';
import Room from './Room.vue';

createApp(Room).mount('#app');
