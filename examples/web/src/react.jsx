import '@stentor/client/elements';
import { useState } from 'react';
import { createRoot } from 'react-dom/client';

// Your page gets URL and token from your server; here they are in the address: react.html#url=…&token=…
const { url, token } = Object.fromEntries(new URLSearchParams(location.hash.slice(1)));

function Room() {
  const [state, setState] = useState('idle');
  const [listener, setListener] = useState(null);
  return (
    <>
      <h1>React</h1>
      <stentor-player url={url} token={token} onstatechange={({ detail }) => setState(detail.state)} onlistenerchange={({ detail }) => setListener(detail)} />
      <stentor-stage listener={listener} />
      <p>
        State: <output>{state}</output>
      </p>
    </>
  );
}

createRoot(document.getElementById('app')).render(<Room />);
